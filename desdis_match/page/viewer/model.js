// The model in 3-D: points by WebGL, cameras on a plain canvas above them.

const FIELD = 0.9; // vertical field of view of the viewer, radians

const V = {
  add: (a, b) => a.map((v, k) => v + b[k]),
  sub: (a, b) => a.map((v, k) => v - b[k]),
  mul: (a, s) => a.map((v) => v * s),
  dot: (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2],
  cross: (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]],
  length: (a) => Math.hypot(...a),
  unit: (a) => V.mul(a, 1 / (Math.hypot(...a) || 1)),
};

class ModelView {
  constructor({ onPick, onOpen }) {
    this.model = Data.meta.model;
    this.picked = null;
    this.hovered = null;
    this.onPick = onPick;
    this.onOpen = onOpen;
    this.box = byId("model-box");
    this.canvas = byId("model-points");
    this.overlay = byId("model-overlay");
    if (!this.model) return this.explain();
    this.cameras = Data.meta.images.map((image, i) => ({ ...image, i })).filter((image) => image.registered);
    const up = V.unit(this.model.up);
    const side = V.unit(V.cross(Math.abs(up[0]) < 0.9 ? [1, 0, 0] : [0, 1, 0], up));
    this.axes = [side, V.cross(up, side), up];
    this.cameraSize = this.startCameraSize();
    this.startWebGL();
    this.listen();
    new ResizeObserver(() => this.redraw()).observe(this.box);
  }

  explain() {
    for (const tool of document.querySelectorAll("#panel-model .tools")) tool.hidden = true;
    byId("model-hint").hidden = true;
    const empty = byId("model-empty");
    empty.hidden = false;
    empty.append(make("strong", { textContent: "No model" }),
      Data.meta.left_out || Data.meta.report.diagnosis || "There is no model in this folder. The images, their keypoints and matches are in the other tabs.");
  }

  startCameraSize() {
    const centers = this.cameras.map((camera) => camera.center);
    const gaps = centers.map((a, i) => centers.reduce((least, b, j) => (i === j ? least : Math.min(least, V.length(V.sub(a, b)))), Infinity));
    const middle = gaps.filter(Number.isFinite).sort((a, b) => a - b)[Math.floor(gaps.length / 2)] || Infinity;
    return Math.max(Math.min(0.6 * middle, 0.16 * this.model.radius), 0.035 * this.model.radius);
  }

  // The whole scene, from behind the cameras and above.
  reset() {
    const { middle, radius } = this.model;
    const centers = this.cameras.map((camera) => camera.center);
    const mean = centers.length ? V.mul(centers.reduce(V.add), 1 / centers.length) : V.add(middle, this.axes[0]);
    const out = V.sub(mean, middle);
    const flat = Math.hypot(V.dot(out, this.axes[0]), V.dot(out, this.axes[1]));
    this.yaw = flat > 0.3 * radius ? Math.atan2(V.dot(out, this.axes[1]), V.dot(out, this.axes[0])) + 0.35 : 0.6;
    this.pitch = 0.42;
    const reach = centers.map((c) => V.length(V.sub(c, middle))).sort((a, b) => a - b)[Math.floor(0.9 * centers.length)] || 0;
    // Far enough for most points and cameras to be in sight.
    const places = [];
    for (let k = 0; k < this.numPoints; k += Math.ceil(this.numPoints / 500)) {
      const place = [...this.positions.subarray(3 * k, 3 * k + 3)];
      if (V.length(V.sub(place, middle)) < 1.5 * radius) places.push(place);
    }
    this.target = V.add(V.mul(middle, 0.65), V.mul(mean, 0.35));
    const { clientWidth: width, clientHeight: height } = this.overlay;
    for (this.distance = radius; this.distance < 30 * (radius + reach); this.distance *= 1.05) {
      const project = this.projector();
      const out = (place) => {
        const at = project(place);
        return !at || at[0] < 0.05 * width || at[0] > 0.95 * width || at[1] < 0.06 * height || at[1] > 0.9 * height;
      };
      if (places.filter(out).length <= 0.03 * places.length && centers.filter(out).length <= 0.12 * centers.length) break;
    }
    this.redraw();
  }

  // From where image i was taken, without its roll.
  lookFrom(i) {
    const { center, rotation } = Data.meta.images[i];
    const forward = rotation.slice(6, 9);
    this.distance = this.model.radius;
    this.target = V.add(center, V.mul(forward, this.distance));
    const back = V.mul(forward, -1);
    this.yaw = Math.atan2(V.dot(back, this.axes[1]), V.dot(back, this.axes[0]));
    this.pitch = Math.asin(Math.min(Math.max(V.dot(back, this.axes[2]), -1), 1));
    this.redraw();
  }

  // Eye position and the viewer's right, up and backward axes in the world.
  pose() {
    const [a, b, up] = this.axes;
    const flat = V.add(V.mul(a, Math.cos(this.yaw)), V.mul(b, Math.sin(this.yaw)));
    const back = V.add(V.mul(flat, Math.cos(this.pitch)), V.mul(up, Math.sin(this.pitch)));
    const right = V.unit(V.cross(up, flat));
    return { eye: V.add(this.target, V.mul(back, this.distance)), right, up: V.cross(back, right), back };
  }

  // Column-major clip-from-world matrix, as WebGL wants it.
  matrix(width, height) {
    const { eye, right, up, back } = this.pose();
    const focal = 1 / Math.tan(FIELD / 2);
    const near = this.distance * 0.01, far = this.distance * 4 + this.model.radius * 50;
    const [fx, fy] = [(focal * height) / width, focal];
    const depth = [-(far + near) / (far - near), (-2 * far * near) / (far - near)];
    const rows = [V.mul(right, fx), V.mul(up, fy), V.mul(back, depth[0]), V.mul(back, -1)];
    const shift = [-fx * V.dot(right, eye), -fy * V.dot(up, eye), -depth[0] * V.dot(back, eye) + depth[1], V.dot(back, eye)];
    return new Float32Array([0, 1, 2].flatMap((k) => rows.map((row) => row[k])).concat(shift));
  }

  startWebGL() {
    const gl = (this.gl = this.canvas.getContext("webgl2", { antialias: true, preserveDrawingBuffer: true }));
    this.positions = Data.array("points", Float32Array);
    this.photoColors = Data.array("point-colors", Uint8Array);
    this.lengths = Data.array("point-lengths", Uint8Array);
    this.errors = Data.array("point-errors", Float32Array);
    this.colors = this.photoColors;
    this.numPoints = this.lengths.length;
    if (!gl) {
      byId("model-hint").textContent += ". This browser has no WebGL: fewer points are shown";
      return;
    }
    this.points = this.program(`#version 300 es
      uniform mat4 clip; uniform float size, radius, least, most; uniform vec4 tint;
      layout(location=0) in vec3 position; layout(location=1) in vec3 color;
      layout(location=2) in float tracked; layout(location=3) in float error;
      out vec3 shade;
      void main() {
        gl_Position = clip * vec4(position, 1.0);
        if (tracked < least || error > most) gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
        gl_PointSize = clamp(size * mix(1.0, radius / gl_Position.w, 0.6), 1.0, 24.0);
        shade = mix(color, tint.rgb, tint.a);
      }`, `#version 300 es
      precision mediump float; in vec3 shade; out vec4 pixel;
      void main() {
        if (length(gl_PointCoord - 0.5) > 0.55) discard;
        pixel = vec4(shade, 1.0);
      }`);
    this.picture = this.program(`#version 300 es
      uniform mat4 clip; layout(location=0) in vec3 position; layout(location=1) in vec2 at; out vec2 place;
      void main() { gl_Position = clip * vec4(position, 1.0); place = at; }`, `#version 300 es
      precision mediump float; uniform sampler2D photo; in vec2 place; out vec4 pixel;
      void main() { pixel = vec4(texture(photo, place).rgb, 0.92); }`);
    this.buffers = {};
    this.cloud = gl.createVertexArray();
    gl.bindVertexArray(this.cloud);
    this.attribute("positions", 0, this.positions, 3, gl.FLOAT, false);
    this.attribute("colors", 1, this.colors, 3, gl.UNSIGNED_BYTE, true);
    this.attribute("lengths", 2, this.lengths, 1, gl.UNSIGNED_BYTE, false);
    this.attribute("errors", 3, this.errors, 1, gl.FLOAT, false);
    this.seen = gl.createBuffer();
    gl.bindVertexArray(null);
    this.quad = gl.createVertexArray();
    this.quadBuffer = gl.createBuffer();
    this.canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    this.canvas.addEventListener("webglcontextrestored", () => { this.startWebGL(); this.redraw(); });
  }

  program(vertex, fragment) {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text.trim());
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    const uniform = {};
    for (let k = 0; k < gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS); k++) {
      const { name } = gl.getActiveUniform(program, k);
      uniform[name] = gl.getUniformLocation(program, name);
    }
    return { program, uniform };
  }

  attribute(name, location, data, size, type, normalised) {
    const { gl } = this;
    this.buffers[name] = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(location);
    gl.vertexAttribPointer(location, size, type, normalised, 0, 0);
  }

  setColors(mode) {
    const legend = byId("model-legend");
    legend.hidden = mode === "photo";
    if (mode === "photo") this.colors = this.photoColors;
    else {
      const values = mode === "length" ? this.lengths : this.errors;
      const sorted = Float32Array.from(values).sort();
      const at = (share) => sorted[Math.floor(share * (sorted.length - 1))] || 0;
      const [low, high] = mode === "length" ? [2, Math.max(at(0.98), 3)] : [0, at(0.95) || 1];
      this.colors = new Uint8Array(3 * values.length);
      for (let k = 0; k < values.length; k++) this.colors.set(ramp((values[k] - low) / (high - low)), 3 * k);
      legend.replaceChildren(make("i", { style: `background:${rampGradient()}` }),
        make("span", {}, mode === "length" ? `${low} images` : "0 px", make("b", { textContent: mode === "length" ? `${Math.round(high)}+` : `${high.toFixed(1)}+` })));
    }
    if (this.gl) {
      this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.buffers.colors);
      this.gl.bufferData(this.gl.ARRAY_BUFFER, this.colors, this.gl.STATIC_DRAW);
    }
    this.redraw();
  }

  listen() {
    const { overlay } = this;
    const pointers = new Map();
    let moved = false;
    overlay.addEventListener("contextmenu", (event) => event.preventDefault());
    overlay.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.distance *= Math.exp(event.deltaY * (event.deltaMode ? 0.05 : 0.0012));
      this.redraw();
    }, { passive: false });
    overlay.addEventListener("pointerdown", (event) => {
      overlay.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, event);
      moved = false;
    });
    overlay.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return this.hover(this.cameraAt(event.offsetX, event.offsetY));
      const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
      if (!moved && Math.hypot(dx, dy) < 3) return;
      moved = true;
      const other = [...pointers.values()].find((pointer) => pointer.pointerId !== event.pointerId);
      if (other) {
        const span = (e) => Math.hypot(e.clientX - other.clientX, e.clientY - other.clientY) || 1;
        this.distance *= span(before) / span(event);
        this.pan(dx / 2, dy / 2);
      } else if (event.shiftKey || event.buttons & 6) this.pan(dx, dy);
      else {
        this.yaw -= dx * 0.006;
        this.pitch = Math.min(Math.max(this.pitch + dy * 0.006, -1.55), 1.55);
      }
      pointers.set(event.pointerId, event);
      this.redraw();
    });
    overlay.addEventListener("pointerup", (event) => {
      if (pointers.delete(event.pointerId) && !moved) this.onPick(this.cameraAt(event.offsetX, event.offsetY));
    });
    overlay.addEventListener("pointercancel", (event) => pointers.delete(event.pointerId));
    overlay.addEventListener("pointerleave", () => this.hover(null));
    overlay.addEventListener("dblclick", (event) => {
      const i = this.cameraAt(event.offsetX, event.offsetY);
      if (i !== null) this.onOpen(i);
    });
    const redraw = () => this.redraw();
    byId("model-color").addEventListener("change", (event) => this.setColors(event.target.value));
    for (const id of ["model-size", "model-length", "model-error", "model-cameras", "model-camera-size"]) {
      byId(id).addEventListener("input", redraw);
    }
    byId("model-reset").addEventListener("click", () => this.reset());
  }

  pan(dx, dy) {
    const { right, up } = this.pose();
    const step = (2 * Math.tan(FIELD / 2) * this.distance) / this.overlay.clientHeight;
    this.target = V.add(this.target, V.add(V.mul(right, -dx * step), V.mul(up, dy * step)));
  }

  pick(i) {
    this.picked = i;
    this.card();
    this.texture = null;
    if (this.model && i !== null && this.gl && Data.meta.images[i].registered) {
      const { gl } = this;
      gl.bindVertexArray(this.cloud);
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.seen);
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, Data.seen(i), gl.STATIC_DRAW);
      this.numSeen = Data.seen(i).length;
      gl.bindVertexArray(null);
      Data.photo(i).then((photo) => { if (photo && this.picked === i) this.setPhoto(photo); });
    } else this.numSeen = 0;
    this.redraw();
  }

  setPhoto(photo) {
    const { gl } = this;
    this.texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, photo);
    gl.generateMipmap(gl.TEXTURE_2D);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
    this.redraw();
  }

  hover(i) {
    if (i === this.hovered) return;
    this.hovered = i;
    this.overlay.style.cursor = i === null ? "grab" : "pointer";
    this.card();
    this.redraw();
  }

  card() {
    const i = this.hovered ?? this.picked;
    byId("model-card").hidden = i === null;
    if (i !== null) fillImageCard(byId("model-card"), i);
  }

  // The image plane's corners in the world: top left, top right, bottom right, bottom left.
  corners(camera, size) {
    const { rotation: r, center, half } = camera;
    return [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([u, v]) => {
      const [x, y, z] = [u * half[0] * size, v * half[1] * size, size];
      return [0, 1, 2].map((k) => center[k] + r[k] * x + r[3 + k] * y + r[6 + k] * z);
    });
  }

  // World place -> CSS pixels of the canvas, or null for what lies behind the viewer.
  projector() {
    const { clientWidth: width, clientHeight: height } = this.overlay;
    const m = this.matrix(width, height);
    return ([x, y, z]) => {
      const w = m[3] * x + m[7] * y + m[11] * z + m[15];
      if (w <= this.distance * 0.01) return null;
      return [
        ((m[0] * x + m[4] * y + m[8] * z + m[12]) / w + 1) * 0.5 * width,
        (1 - (m[1] * x + m[5] * y + m[9] * z + m[13]) / w) * 0.5 * height,
      ];
    };
  }

  cameraScale() { return this.cameraSize * Math.pow(2, Number(byId("model-camera-size").value)); }

  // Image whose camera is drawn at this place, or null.
  cameraAt(x, y) {
    if (!byId("model-cameras").checked) return null;
    const project = this.projector();
    let [best, nearest] = [null, 18];
    for (const camera of this.cameras) {
      const middle = V.mul(this.corners(camera, this.cameraScale()).reduce(V.add), 0.25);
      for (const place of [project(middle), project(camera.center)]) {
        const distance = place ? Math.hypot(place[0] - x, place[1] - y) : Infinity;
        if (distance < nearest) [best, nearest] = [camera.i, distance];
      }
    }
    return best;
  }

  // Where camera i is drawn; tests click there.
  placeOf(i) { return this.projector()(Data.meta.images[i].center); }

  redraw() {
    if (!this.model || this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.draw();
    });
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth, clientHeight } = this.box;
    const [width, height] = [Math.round(clientWidth * ratio), Math.round(clientHeight * ratio)];
    if (!width || !height) return;
    if (this.distance === undefined) this.reset();
    for (const canvas of [this.canvas, this.overlay]) {
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    }
    const least = Number(byId("model-length").value);
    const step = Number(byId("model-error").value);
    const most = step >= 40 ? Infinity : step / 10;
    byId("model-length-value").textContent = least;
    byId("model-error-value").textContent = step >= 40 ? "any" : most.toFixed(1) + " px";
    if (this.gl) this.drawPoints(width, height, ratio, least, Number.isFinite(most) ? most : 1e30);
    const context = this.overlay.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, clientWidth, clientHeight);
    if (!this.gl) this.drawPointsPlainly(context, least, most);
    if (byId("model-cameras").checked) this.drawCameras(context);
  }

  drawPoints(width, height, ratio, least, most) {
    const { gl } = this;
    const back = color("scene").match(/\w\w/g).map((part) => parseInt(part, 16) / 255);
    gl.viewport(0, 0, width, height);
    gl.clearColor(...back, 1);
    gl.enable(gl.DEPTH_TEST);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const clip = this.matrix(width, height);
    const { program, uniform } = this.points;
    gl.useProgram(program);
    gl.uniformMatrix4fv(uniform.clip, false, clip);
    gl.uniform1f(uniform.size, Number(byId("model-size").value) * ratio);
    gl.uniform1f(uniform.radius, 2.3 * this.model.radius);
    gl.uniform1f(uniform.least, least);
    gl.uniform1f(uniform.most, most);
    gl.uniform4f(uniform.tint, 0, 0, 0, 0);
    gl.bindVertexArray(this.cloud);
    gl.drawArrays(gl.POINTS, 0, this.numPoints);
    if (this.numSeen) {
      const picked = color("picked").match(/\w\w/g).map((part) => parseInt(part, 16) / 255);
      gl.uniform4f(uniform.tint, ...picked, 0.6);
      gl.uniform1f(uniform.size, (Number(byId("model-size").value) + 0.7) * ratio);
      gl.depthFunc(gl.LEQUAL);
      gl.drawElements(gl.POINTS, this.numSeen, gl.UNSIGNED_INT, 0);
      gl.depthFunc(gl.LESS);
    }
    if (this.texture && byId("model-cameras").checked) this.drawPhoto(clip);
    gl.bindVertexArray(null);
  }

  drawPhoto(clip) {
    const { gl } = this;
    const corners = this.corners(Data.meta.images[this.picked], this.cameraScale());
    const places = [[0, 0], [1, 0], [1, 1], [0, 1]];
    const data = new Float32Array([0, 1, 2, 0, 2, 3].flatMap((k) => [...corners[k], ...places[k]]));
    gl.useProgram(this.picture.program);
    gl.uniformMatrix4fv(this.picture.uniform.clip, false, clip);
    gl.bindVertexArray(this.quad);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.quadBuffer);
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.DYNAMIC_DRAW);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 3, gl.FLOAT, false, 20, 0);
    gl.enableVertexAttribArray(1);
    gl.vertexAttribPointer(1, 2, gl.FLOAT, false, 20, 12);
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
    gl.drawArrays(gl.TRIANGLES, 0, 6);
    gl.disable(gl.BLEND);
  }

  // Without WebGL: every so many points as small squares.
  drawPointsPlainly(context, least, most) {
    const project = this.projector();
    const stride = Math.ceil(this.numPoints / 20000);
    for (let k = 0; k < this.numPoints; k += stride) {
      if (this.lengths[k] < least || this.errors[k] > most) continue;
      const place = project(this.positions.subarray(3 * k, 3 * k + 3));
      if (!place) continue;
      context.fillStyle = `rgb(${this.colors.subarray(3 * k, 3 * k + 3).join()})`;
      context.fillRect(place[0], place[1], 1.6, 1.6);
    }
  }

  drawCameras(context) {
    const project = this.projector();
    const size = this.cameraScale();
    const special = (camera) => camera.i === this.picked || camera.i === this.hovered;
    const ordered = [...this.cameras.filter((camera) => !special(camera)), ...this.cameras.filter(special)];
    for (const camera of ordered) {
      const apex = project(camera.center);
      const corners = this.corners(camera, size).map(project);
      if (!apex || corners.some((corner) => !corner)) continue;
      context.strokeStyle = context.fillStyle = color(special(camera) ? "picked" : "camera");
      context.lineWidth = special(camera) ? 2 : 1;
      context.beginPath();
      context.moveTo(...corners[3]);
      for (const corner of corners) context.lineTo(...corner);
      for (const corner of corners) {
        context.moveTo(...apex);
        context.lineTo(...corner);
      }
      context.stroke();
      if (!(special(camera) && this.texture && camera.i === this.picked)) {
        context.globalAlpha = 0.16;
        context.beginPath();
        context.moveTo(...corners[3]);
        for (const corner of corners) context.lineTo(...corner);
        context.fill();
        context.globalAlpha = 1;
      }
    }
  }
}
