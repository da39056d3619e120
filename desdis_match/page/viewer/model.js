// The model in 3-D: the points, what is drawn above them, and the controls.

const NEAR_CAMERAS = 2.5; // cameras further from the middle than this many radii do not count for the whole scene,
// unless most are: then those count that lie as far as 80 % of them, or half as far again
const MANY_CAMERAS = 500; // more are plain lines that WebGL draws with the points

class ModelView {
  constructor({ onPick, onOpen }) {
    this.onPick = onPick;
    this.onOpen = onOpen;
    this.picked = this.hovered = this.clicked = this.playing = this.rolling = null;
    this.measuring = false;
    this.measured = [];
    this.perUnit = 1; // of a unit of the model
    this.unit = "units";
    this.box = byId("model-box");
    this.overlay = byId("model-overlay");
    if (!Data.meta.models.length) {
      this.explain();
      return;
    }
    this.renderer = new PointRenderer(byId("model-points"));
    this.gl = this.renderer.gl;
    this.useModel(Data.meta.index);
    this.renderer.onRestore = () => { this.lines = null; this.setColors(byId("model-color").value); this.pick(this.picked); };
    this.listen();
    this.listenToPointers();
    new ResizeObserver(() => {
      if (this.fitted && this.fittedFor !== this.seenAs()) this.fit();
      this.redraw(false); // points too where the size is another
    }).observe(this.box);
  }

  explain() {
    const tools = document.querySelectorAll("#panel-model .tools, #model-options, #model-box .hint");
    for (const tool of /** @type {NodeListOf<HTMLElement>} */ (tools)) tool.hidden = true;
    const empty = byId("model-empty");
    empty.hidden = false;
    empty.append(make("strong", { textContent: "No model" }),
      Data.meta.left_out || Data.meta.report.diagnosis || "There is no model in this folder. The images, their keypoints and matches are in the other tabs.");
  }

  // Show model k of the run.
  useModel(k) {
    this.stop();
    Data.useModel(k);
    byId("model-up").value = "auto";
    this.model = Data.meta.model;
    this.cameras = Data.meta.images.map((image, i) => ({ ...image, i })).filter((image) => image.registered);
    this.orbit = new Orbit(this.model);
    this.cloud = Data.cloud();
    this.numPoints = this.cloud.lengths.length;
    this.uncoloured = this.numPoints > 0 && this.cloud.photoColors.every((value) => value === 0);
    this.note();
    this.perUnit = 1;
    this.unit = this.model.metres ? "m" : "units";
    this.cameraSize = this.startCameraSize();
    this.renderer.setCloud({ ...this.cloud, colors: this.cloud.photoColors });
    this.setMeasured([]);
    byId("model-play").hidden = this.cameras.length < 2;
    byId("model-far-label").hidden = !this.model.num_far;
    byId("model-far-count").textContent = count(this.model.num_far);
    this.setColors(byId("model-color").value);
    this.fitted = true;
  }

  note() {
    byId("model-note").textContent = [
      this.gl ? "" : "This browser has no WebGL: at most 20,000 points are drawn.",
      this.uncoloured ? "The points of this model have no colours." : "",
    ].join(" ").trim();
  }

  startCameraSize() {
    const { radius } = this.model;
    const centers = this.cameras.map((camera) => camera.center);
    const some = centers.filter((_, k) => k % Math.ceil(centers.length / 100) === 0);
    const gaps = some.map((a) => centers.reduce(
      (least, b) => (a === b ? least : Math.min(least, (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2)), Infinity));
    const middle = Math.sqrt(quantile(gaps.filter(Number.isFinite), 0.5)) || Infinity;
    const least = 0.035 * radius * Math.min(1, Math.sqrt(100 / Math.max(centers.length, 1)));
    return Math.max(Math.min(0.6 * middle, 0.16 * radius), least);
  }

  // The whole scene, from behind the cameras and above; what lies far away does not count.
  reset() {
    this.stop();
    this.fit();
    this.redraw();
  }

  // What the whole scene was fitted to: the model and the canvas.
  seenAs() { return `${Data.meta.index} ${this.overlay.clientWidth} ${this.overlay.clientHeight}`; }

  fit() {
    const { orbit } = this;
    const { clientWidth: width, clientHeight: height } = this.overlay;
    if (!width || !height) return; // another tab is open
    const { middle, radius, far } = this.model;
    const away = this.cameras.map((camera) => V.length(V.sub(camera.center, middle)));
    const most = quantile(away, 0.5) < NEAR_CAMERAS * radius ? NEAR_CAMERAS * radius : 1.5 * quantile(away, 0.8);
    const near = this.cameras.filter((_, k) => away[k] < most);
    const mean = near.length ? V.mul(near.map((camera) => camera.center).reduce(V.add), 1 / near.length) : V.add(middle, orbit.axes[0]);
    const out = V.sub(mean, middle);
    const [a, b] = [V.dot(out, orbit.axes[0]), V.dot(out, orbit.axes[1])];
    orbit.yaw = Math.hypot(a, b) > 0.3 * radius ? Math.atan2(b, a) + 0.35 : 0.6;
    orbit.pitch = 0.42;
    orbit.target = middle;
    const places = [];
    for (let k = 0; k < Math.min(this.numPoints, 1500); k++) {
      const place = [...this.cloud.positions.subarray(3 * k, 3 * k + 3)];
      if (V.length(V.sub(place, middle)) < far) places.push(place);
    }
    const some = byId("model-cameras").checked ? near.filter((_, k) => k % Math.ceil(near.length / 500) === 0) : [];
    const frames = some.flatMap((camera) => [camera.center, ...cameraCorners(camera, this.cameraScale())]);
    orbit.fit(places, frames, width, height);
    this.sizePoints(places);
    this.fitted = true;
    this.fittedFor = this.seenAs();
  }

  // Dense models have small points, sparse ones large: so that they fill about a third of their area.
  sizePoints(places) {
    const { clientWidth: width, clientHeight: height } = this.overlay;
    const project = this.orbit.projector(width, height);
    const seen = places.map(project).filter((at) => at);
    const side = (k) => quantile(seen.map((at) => at[k]), 0.9) - quantile(seen.map((at) => at[k]), 0.1);
    this.reference = quantile(seen.map((at) => at[2]), 0.5) || this.orbit.distance;
    const area = side(0) * side(1) || Infinity; // a point alone is a large one
    this.pointSize = Math.min(Math.max(0.95 * Math.sqrt(area / Math.max(0.64 * this.numPoints, 1)), 1.2), 5.5);
  }

  setColors(mode) {
    const legend = byId("model-legend");
    const { photoColors, lengths, errors } = this.cloud;
    legend.hidden = mode === "photo";
    const ink = rgb("ink").map((share) => Math.round(255 * share));
    let colors = this.uncoloured ? photoColors.map((_, k) => ink[k % 3]) : photoColors;
    if (mode !== "photo") {
      const values = mode === "length" ? lengths : errors;
      const [low, high] = mode === "length" ? [2, Math.max(quantile(values, 0.98), 3)] : [0, quantile(values, 0.95) || 1];
      const pixels = high * this.model.error_step;
      const table = Array.from({ length: 256 }, (_, k) => ramp(k / 255));
      colors = new Uint8Array(3 * values.length);
      for (let k = 0; k < values.length; k++) {
        const t = Math.round((255 * (values[k] - low)) / (high - low));
        colors.set(table[Math.min(Math.max(t, 0), 255)], 3 * k);
      }
      if (mode === "length") fillLegend(legend, "2", `${Math.round(high)} or more photos`);
      else fillLegend(legend, "0", `${pixels.toPrecision(2)} px or more`);
    }
    if (colors !== this.renderer.cloud.colors) this.renderer.setColors(colors);
    this.redraw();
  }

  listen() {
    const redraw = () => this.redraw();
    byId("model-color").addEventListener("change", (event) => this.setColors(event.target.value));
    for (const id of ["size", "length", "error", "cameras", "camera-size", "far", "path", "shading"]) {
      byId("model-" + id).addEventListener("input", redraw);
    }
    byId("model-reset").addEventListener("click", () => this.reset());
    byId("model-up").addEventListener("change", (event) => {
      const { value } = event.target;
      this.orbit.setUp(value === "auto" ? this.model.up : value.split(" ").map(Number));
      this.redraw();
    });
    byId("model-measure").addEventListener("click", () => this.setMeasuring(!this.measuring));
    byId("measure-clear").addEventListener("click", () => this.setMeasured([]));
    byId("measure-true").addEventListener("input", (event) => {
      const metres = Number(event.target.value);
      const [a, b] = this.measured;
      if (!b || !(metres > 0)) return;
      this.perUnit = metres / V.length(V.sub(a, b));
      this.unit = "m";
      this.sayMeasured();
      this.redraw();
    });
    byId("model-play").addEventListener("click", () => (this.playing ? this.stop() : this.play()));
    byId("model-picture").addEventListener("click", () => this.savePicture());
    byId("model-more").addEventListener("click", () => {
      const open = byId("model-options").hidden;
      byId("model-options").hidden = !open;
      byId("model-more").setAttribute("aria-expanded", open);
    });
  }

  lookFrom(i) {
    const { center, rotation } = Data.meta.images[i];
    this.stop();
    this.fitted = false;
    this.orbit.lookFrom(center, rotation.slice(6, 9));
    this.redraw();
  }

  pick(i) {
    this.picked = i;
    this.card();
    if (!this.model) return;
    const there = i !== null && Data.meta.images[i].registered;
    this.renderer.setSeen(there ? Data.seen(i) : new Uint32Array(0));
    if (this.gl) {
      this.renderer.setPhoto(null);
      if (there) Data.photo(i).then((photo) => {
        if (!photo || this.picked !== i) return;
        this.renderer.setPhoto(photo);
        this.redraw();
      });
    }
    this.redraw();
  }

  hover(i) {
    if (i === this.hovered) return;
    this.hovered = i;
    this.overlay.style.cursor = this.measuring ? "crosshair" : i === null ? "grab" : "pointer";
    this.card();
    this.redraw(false);
  }

  card() {
    const i = this.hovered ?? this.picked;
    byId("model-card").hidden = i === null;
    if (i !== null) fillImageCard(byId("model-card"), i);
  }

  projector() { return this.orbit.projector(this.overlay.clientWidth, this.overlay.clientHeight); }

  cameraScale() { return this.cameraSize * Math.pow(2, Number(byId("model-camera-size").value)); }

  // Image whose camera is drawn at this place, or null.
  cameraAt(x, y) {
    if (!byId("model-cameras").checked) return null;
    const project = this.projector();
    const size = this.cameraScale();
    let [best, nearest] = [null, 18];
    for (const camera of this.cameras) {
      const apex = project(camera.center);
      if (!apex) continue;
      const middle = project(V.add(camera.center, V.mul(camera.rotation.slice(6, 9), size)));
      for (const place of [middle, apex]) {
        const distance = place ? Math.hypot(place[0] - x, place[1] - y) : Infinity;
        if (distance < nearest) [best, nearest] = [camera.i, distance];
      }
    }
    return best;
  }

  // Where camera i is drawn; tests click there.
  placeOf(i) { return this.projector()(Data.meta.images[i].center); }

  // Redraw with few points for a moment, then with all.
  moving() {
    clearTimeout(this.still);
    this.isMoving = true;
    this.still = setTimeout(() => { this.isMoving = false; this.complete(); }, 160);
    this.redraw();
  }

  // points: whether they are drawn anew, and not only what lies above them.
  redraw(points = true) {
    if (!this.model) return;
    this.stale = this.stale || points;
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.draw(this.stale);
    });
  }

  // The rest of the points, some a frame, so that the page answers meanwhile.
  complete() {
    cancelAnimationFrame(this.completing);
    if (this.isMoving || !this.gl) return;
    const step = () => { this.completing = this.renderer.more() ? requestAnimationFrame(step) : 0; };
    this.completing = requestAnimationFrame(step);
  }

  // Which points are drawn: of at least `least` images, error at most `most` pixels (`steps` as stored), at most
  // `cut` from the middle.
  limits() {
    const most = Number(byId("model-error").value) / 10;
    const any = most >= 4;
    return {
      least: Number(byId("model-length").value),
      most: any ? 1e30 : most,
      steps: any ? 1e30 : most / this.model.error_step + 1e-6,
      cut: byId("model-far").checked ? this.model.far : 1e30,
    };
  }

  draw(points = true) {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth, clientHeight } = this.box;
    const [width, height] = [Math.round(clientWidth * ratio), Math.round(clientHeight * ratio)];
    if (!width || !height) return;
    if (this.reference === undefined || (this.fitted && this.fittedFor !== this.seenAs())) this.fit();
    for (const canvas of [byId("model-points"), this.overlay]) {
      if (canvas.width === width && canvas.height === height) continue;
      Object.assign(canvas, { width, height });
      points = true;
    }
    const limits = this.limits();
    byId("model-length-value").textContent = limits.least;
    byId("model-error-value").textContent = limits.most > 1e29 ? "any" : limits.most.toFixed(1) + " px";
    const size = this.pointSize * Math.pow(2, Number(byId("model-size").value));
    const { orbit } = this;
    const shows = byId("model-cameras").checked;
    const framed = shows && this.picked !== null && Data.meta.images[this.picked].registered;
    const many = this.gl && this.cameras.length > MANY_CAMERAS;
    if (this.gl && points) this.setLines(many && shows ? this.cameraScale() : 0);
    if (this.gl && points) this.renderer.draw(width, height, {
      ...limits, most: limits.steps, size, ratio, clip: orbit.matrix(clientWidth, clientHeight), near: orbit.near(),
      far: orbit.distance * 4 + orbit.radius * 50, reference: this.reference, middle: this.model.middle,
      shading: byId("model-shading").checked, frame: framed ? this.photoFrame() : null,
    });
    if (points) {
      this.stale = false;
      this.complete();
    }
    const context = this.overlay.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, clientWidth, clientHeight);
    const project = this.projector();
    if (!this.gl) this.drawPointsPlainly(context, project, limits);
    if (byId("model-path").checked) drawPath(context, project, this.cameras.map((camera) => camera.center), color("picked"));
    if (shows) {
      const special = (i) => i === this.picked || i === this.hovered;
      const cameras = many ? this.cameras.filter((camera) => special(camera.i)) : this.cameras;
      drawCameras(context, project, cameras, this.cameraScale(), special, this.renderer.texture ? this.picked : null);
    }
    if (this.measuring && this.overlay.matches(":focus-visible")) drawCross(context, clientWidth / 2, clientHeight / 2);
    if (this.measured.length) drawMeasure(context, project, this.measured, this.measured.length === 2 ? this.measuredText() : "");
    drawAxes(context, orbit, clientWidth, clientHeight);
    if (this.rolling) drawRolling(context, this.rolling, clientWidth, clientHeight);
    if (framed) drawAway(context, orbit, Data.meta.images[this.picked].center, clientWidth, clientHeight);
    const hint = [...this.box.querySelectorAll(".hint")].reduce((most, node) => Math.max(most, node.clientHeight), 0);
    drawScaleBar(context, this.perUnit * orbit.perPixel(clientHeight), this.unit, clientHeight - hint);
  }

  // All cameras as lines of this size, 0 for none.
  setLines(size) {
    if (this.lines && this.lines.size === size && this.lines.cameras === this.cameras) return;
    this.lines = { size, cameras: this.cameras };
    this.renderer.setLines(size ? cameraLines(this.cameras, size) : new Float32Array(0));
  }

  // Two triangles with the picked photo: x, y, z and the place in the picture of each corner.
  photoFrame() {
    const image = Data.meta.images[this.picked];
    const corners = cameraCorners(image, this.cameraScale());
    const places = uprightCorners(image.turn);
    return new Float32Array([0, 1, 2, 0, 2, 3].flatMap((k) => [...corners[k], ...places[k]]));
  }

  // Without WebGL: every so many points as small squares.
  drawPointsPlainly(context, project, { least, steps, cut }) {
    const { positions, lengths, errors } = this.cloud;
    const { colors } = this.renderer.cloud;
    for (let k = 0; k < Math.min(this.numPoints, 20000); k++) {
      if (lengths[k] < least || errors[k] > steps) continue;
      const place = positions.subarray(3 * k, 3 * k + 3);
      if (V.length(V.sub([...place], this.model.middle)) > cut) continue;
      const at = project(place);
      if (!at) continue;
      context.fillStyle = `rgb(${colors.subarray(3 * k, 3 * k + 3).join()})`;
      context.fillRect(at[0], at[1], 2, 2);
    }
  }
}
