// Which images were matched with which: a graph, or a matrix.

const BEST_EDGES = 2; // strongest edges of an image that are always shown, beside a spanning tree
const READABLE_EDGES = 6; // edges an image that are shown at first, on average
const MANY_NODES = 80; // thumbnails are drawn where no more nodes than these are in sight

class GraphPanel {
  constructor({ onImage, onPair }) {
    this.kind = "graph";
    this.picked = null;
    this.hovered = null; // {image} or {pair}
    this.images = Data.meta.images.map((_, i) => i).filter((i) => !Data.meta.images[i].unusable);
    const { pairs } = Data.meta;
    this.weights = pairs.image0.map((_, p) => (pairs.verified[p] < 0 ? pairs.matches[p] : pairs.verified[p]));
    this.order = this.weights.map((_, p) => p).filter((p) => this.weights[p] > 0).sort((a, b) => this.weights[b] - this.weights[a]);
    this.most = this.order.length ? this.weights[this.order[0]] : 1;
    this.row = new Map(this.images.map((image, k) => [image, k]));
    this.kept = backbone(this.images.length, this.order, (p) => [this.row.get(pairs.image0[p]), this.row.get(pairs.image1[p])], BEST_EDGES);
    this.thumbnails = new Map();
    this.otherLeast = 0; // where the slider stood for the other kind
    this.zoom = new ZoomCanvas(byId("graph-canvas"), {
      draw: (context) => (this.kind === "matrix" ? this.drawMatrix(context) : this.drawGraph(context)),
      click: (x, y) => {
        const found = this.find(x, y);
        if (found && "image" in found) onImage(found.image);
        else if (found) onPair(found.pair);
      },
      hover: (x, y) => this.hover(this.find(x, y)),
    });
    for (const radio of /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll("[name=graph-kind]"))) {
      radio.addEventListener("change", () => this.choose(radio.value));
    }
    byId("graph-least").value = this.startLeast();
    byId("graph-least").addEventListener("input", () => this.setLeast());
    this.setLeast();
  }

  // As many edges as one can read.
  startLeast() {
    const room = READABLE_EDGES * Math.max(this.images.length, 10);
    if (this.order.length <= room) return 0;
    return Math.ceil((100 * Math.log(this.weights[this.order[room]])) / Math.log(this.most + 1));
  }

  setLeast() {
    const v = Number(byId("graph-least").value);
    this.least = v === 0 ? 1 : Math.min(Math.round(Math.exp((v / 100) * Math.log(this.most + 1))), this.most);
    this.edges = this.order.filter((p) => this.weights[p] >= this.least || (this.kind !== "matrix" && this.kept.has(p)));
    byId("graph-least-value").textContent = count(this.least);
    this.fewest = this.edges.length ? this.weights[this.edges[this.edges.length - 1]] : 1;
    fillLegend(byId("graph-legend"), count(this.fewest), `${count(this.most)} matches`);
    const hidden = this.order.length - this.edges.length;
    const verified = Data.meta.pairs.verified.some((v) => v >= 0);
    const always = this.kind === "matrix" ? "" : "; every photo's strongest are always shown";
    byId("graph-legend").hidden = byId("graph-least-label").hidden = !this.order.length;
    byId("graph-note").textContent = !this.order.length ? "No two photos were matched" : `${count(this.edges.length)} edges by ${verified ? "verified matches" : "matches, none verified yet"}` +
      (hidden ? `, ${count(hidden)} weaker ones hidden${always}` : "");
    this.zoom.redraw();
  }

  open() {
    if (this.opened) return this.zoom.redraw();
    this.opened = true;
    this.choose("graph");
  }

  choose(kind) {
    const slider = byId("graph-least");
    if (kind !== this.kind) [this.otherLeast, slider.value] = [slider.value, this.otherLeast];
    this.kind = kind;
    this.setLeast();
    const what = kind === "matrix" ? "a cell for its pair" : "an image or a line between two";
    document.querySelector("#panel-graph .hint.mouse").textContent = `Click ${what}; wheel to zoom, drag to move`;
    document.querySelector("#panel-graph .hint.touch").textContent = `Tap ${what}; one finger moves, two zoom`;
    const { clientWidth: width, clientHeight: height } = this.zoom.canvas;
    const narrow = width < 600;
    this.zoom.foot = narrow ? 30 : 12; // for the hint
    if (kind === "matrix") {
      this.zoom.margin = narrow ? 72 : 32; // names stand on the left
      this.zoom.show(1000, 1000);
    } else {
      this.zoom.margin = narrow ? 34 : 56; // the outermost thumbnails
      const margin = 2 * this.zoom.margin;
      this.layOut(Math.min(Math.max((1000 * (height - margin - this.zoom.foot)) / Math.max(width - margin, 1), 300), 3000), width, height);
      this.zoom.show(1000, this.tall);
    }
  }

  // tall: height of the drawing, 1000 wide; width, height: of the canvas that it fits.
  layOut(tall, width, height) {
    if (this.places) return;
    this.tall = tall;
    const { pairs, images, model } = Data.meta;
    const n = this.images.length;
    // Large graphs start from the cameras seen from above.
    const axes = model && n > 400 ? Orbit.frame(V.unit(model.up)) : null;
    const place = (i, k) => {
      if (axes && images[i].registered) {
        const out = V.sub(images[i].center, model.middle);
        return [0, 1].map((c) => Math.min(Math.max(V.dot(out, axes[c]) / model.radius / 3, -1), 1));
      }
      return [Math.cos((2 * Math.PI * k) / n) * 0.5, Math.sin((2 * Math.PI * k) / n) * 0.5];
    };
    const edges = this.order.map((p) => [this.row.get(pairs.image0[p]), this.row.get(pairs.image1[p]), this.weights[p] / this.most])
      .filter(([, , pull], k) => pull > 0.003 || this.kept.has(this.order[k]));
    let found = springs(this.images.map(place), edges).map(([x, y]) => [x, (y * tall) / 700]);
    if (n <= MANY_NODES) {
      const perPixel = 1000 / Math.max(width - 2 * this.zoom.margin, 1);
      found = apart(found, (thumbnailSide(width, height, n) + 8) * perPixel, [1000, tall]);
    }
    this.places = new Map(this.images.map((image, k) => [image, found[k]]));
  }

  // The small picture of image i, asked for when first drawn.
  thumbnail(i) {
    if (!this.thumbnails.has(i)) {
      this.thumbnails.set(i, null);
      Data.photo(i).then((photo) => {
        if (!photo) return;
        const side = 128 / Math.max(photo.width, photo.height);
        const canvas = make("canvas", { width: Math.round(photo.width * side), height: Math.round(photo.height * side) });
        canvas.getContext("2d").drawImage(photo, 0, 0, canvas.width, canvas.height);
        this.thumbnails.set(i, canvas);
        this.zoom.redraw();
      });
    }
    return this.thumbnails.get(i);
  }

  find(x, y) {
    if (Number.isNaN(x)) return null;
    const { pairs } = Data.meta;
    if (this.kind === "matrix") {
      const cell = 1000 / this.images.length;
      const [a, b] = [this.images[Math.floor(x / cell)], this.images[Math.floor(y / cell)]];
      if (a === undefined || b === undefined) return null;
      if (a === b) return { image: a };
      const pair = Data.findPair(a, b);
      return pair === undefined ? null : { pair };
    }
    if (!this.places) return null;
    let best = null;
    let nearest = 20 / this.zoom.scale;
    for (const [image, [nx, ny]] of this.places) {
      const distance = Math.hypot(nx - x, ny - y);
      if (distance < nearest) [best, nearest] = [{ image }, distance];
    }
    if (best) return best;
    nearest = 5 / this.zoom.scale;
    for (const pair of this.edges) {
      const [[ax, ay], [bx, by]] = [this.places.get(pairs.image0[pair]), this.places.get(pairs.image1[pair])];
      const [ux, uy] = [bx - ax, by - ay];
      const t = Math.min(Math.max(((x - ax) * ux + (y - ay) * uy) / (ux * ux + uy * uy || 1), 0), 1);
      const distance = Math.hypot(ax + t * ux - x, ay + t * uy - y);
      if (distance < nearest) [best, nearest] = [{ pair }, distance];
    }
    return best;
  }

  hover(found) {
    if (JSON.stringify(found) === JSON.stringify(this.hovered)) return;
    this.hovered = found;
    this.zoom.canvas.style.cursor = found ? "pointer" : "";
    const card = byId("graph-card");
    card.hidden = !found;
    if (found && "image" in found) fillImageCard(card, found.image);
    else if (found) {
      const { pairs, images } = Data.meta;
      const p = found.pair;
      card.replaceChildren(make("div", {},
        make("b", {}, cutName(images[pairs.image0[p]].name)),
        make("b", {}, cutName(images[pairs.image1[p]].name)),
        pairs.verified[p] < 0 ? `${count(pairs.matches[p])} matches, not verified`
          : `${count(pairs.verified[p])} of ${count(pairs.matches[p])} matches verified`));
    }
    this.zoom.redraw();
  }

  // Where node i is on screen; tests click there.
  nodeAt(i) { return this.zoom.toScreen(...this.places.get(i)); }

  // 0 to 1 by the number of matches among those shown, in steps of equal factors.
  strength(p) { return Math.log(this.weights[p] / this.fewest) / Math.log(this.most / this.fewest || 1) || 0; }

  drawGraph(context) {
    if (!this.places) return;
    const { pairs } = Data.meta;
    const { zoom } = this;
    const focus = this.hovered && "image" in this.hovered ? this.hovered.image : null;
    const busy = Math.min(1, 300 / Math.max(this.edges.length, 1));
    const picked = color("picked");
    // Weak edges first, so that strong ones lie on top.
    for (let k = this.edges.length - 1; k >= 0; k--) {
      const p = this.edges[k];
      const mine = focus !== null && (pairs.image0[p] === focus || pairs.image1[p] === focus);
      const hovered = this.hovered && this.hovered.pair === p;
      context.globalAlpha = mine || hovered ? 1 : focus !== null ? 0.08 : 0.3 + 0.6 * busy;
      context.lineWidth = hovered ? 5 : 0.7 + 3.5 * Math.pow(this.strength(p), 2) * (0.3 + 0.7 * busy);
      context.strokeStyle = mine || hovered ? picked : `rgb(${ramp(this.strength(p))})`;
      const [a, b] = [this.places.get(pairs.image0[p]), this.places.get(pairs.image1[p])];
      context.beginPath();
      context.moveTo(...zoom.toScreen(...a));
      context.lineTo(...zoom.toScreen(...b));
      context.stroke();
    }
    context.globalAlpha = 1;
    this.drawNodes(context, focus);
  }

  drawNodes(context, focus) {
    const { images } = Data.meta;
    const { zoom } = this;
    const { clientWidth, clientHeight } = zoom.canvas;
    const visible = [...this.places].map(([image, place]) => [image, ...zoom.toScreen(...place)])
      .filter(([, x, y]) => x > -40 && y > -40 && x < clientWidth + 40 && y < clientHeight + 40);
    const styles = { picked: color("picked"), good: color("good"), bad: color("bad"), paper: color("paper") };
    const room = Math.sqrt((clientWidth * clientHeight) / Math.max(visible.length, 1));
    const side = thumbnailSide(clientWidth, clientHeight, visible.length);
    const radius = Math.min(Math.max(0.12 * room, 1.6), 8);
    for (const [image, x, y] of visible) {
      const special = image === this.picked || image === focus;
      const ring = special ? styles.picked : images[image].registered ? styles.good : styles.bad;
      const thumbnail = visible.length <= MANY_NODES ? this.thumbnail(image) : null;
      if (thumbnail) {
        const scale = side / Math.max(thumbnail.width, thumbnail.height);
        const [width, height] = [thumbnail.width * scale, thumbnail.height * scale];
        context.fillStyle = ring;
        context.fillRect(x - width / 2 - 2, y - height / 2 - 2, width + 4, height + 4);
        context.drawImage(thumbnail, x - width / 2, y - height / 2, width, height);
      } else {
        context.beginPath();
        context.arc(x, y, special ? radius + 3 : radius, 0, 2 * Math.PI);
        context.fillStyle = images[image].registered || special ? ring : styles.paper;
        context.fill();
        if (radius < 3 && images[image].registered) continue;
        context.lineWidth = Math.min(2, radius / 2);
        context.strokeStyle = ring;
        context.stroke();
      }
    }
  }

  drawMatrix(context) {
    const { pairs, images } = Data.meta;
    const { zoom } = this;
    const cell = 1000 / this.images.length;
    const [left, top] = zoom.toScreen(0, 0);
    context.fillStyle = color("paper");
    context.fillRect(left, top, 1000 * zoom.scale, 1000 * zoom.scale);
    const pixels = cell * zoom.scale;
    const side = Math.max(pixels - (pixels > 6 ? 1 : 0), 1);
    const fill = (a, b, style) => {
      context.fillStyle = style;
      const [x, y] = zoom.toScreen(a * cell, b * cell);
      context.fillRect(x, y, side, side);
    };
    const [picked, line] = [color("picked"), color("line")];
    for (const [image, k] of this.row) fill(k, k, image === this.picked ? picked : line);
    for (let k = this.edges.length - 1; k >= 0; k--) {
      const p = this.edges[k];
      const [a, b] = [this.row.get(pairs.image0[p]), this.row.get(pairs.image1[p])];
      const style = this.hovered && this.hovered.pair === p ? picked : `rgb(${ramp(this.strength(p))})`;
      fill(a, b, style);
      fill(b, a, style);
    }
    if (pixels < 11) return;
    // Names along the left side, as far as they fit into its margin.
    context.fillStyle = color("soft");
    context.font = "11px system-ui, sans-serif";
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const [image, k] of this.row) {
      const all = characters(images[image].name);
      let short = all.join("");
      for (let cut = 1; cut < all.length && context.measureText(short).width > left - 10; cut++) short = "…" + all.slice(cut).join("");
      context.fillText(short, left - 6, zoom.toScreen(0, (k + 0.5) * cell)[1]);
    }
    context.textAlign = "start";
    context.textBaseline = "alphabetic";
  }
}

// The long side of a thumbnail where n of them share a canvas, CSS pixels.
const thumbnailSide = (width, height, n) => Math.min(Math.max(0.42 * Math.sqrt((width * height) / Math.max(n, 1)), 20), 96);

function fillImageCard(card, i) {
  const image = Data.meta.images[i];
  const url = Data.photoUrl(i);
  const out = whyOut(image);
  card.replaceChildren(
    ...(url ? [make("img", { src: url, alt: "" })] : []),
    make("div", {},
      make("b", {}, cutName(image.name)),
      `${count(image.keypoints)} keypoints`, make("br"), make("span", { className: "seen", textContent: `${count(image.points)} of them in the model` }),
      make("br"),
      image.registered ? `${count(image.pairs)} verified pairs` : "not placed" + (out ? ": " + out : ""),
      ...(image.camera ? [make("br"), cameraLine(image.camera)] : [])));
}

// A camera's intrinsics in a line.
function cameraLine(camera) {
  const focal = camera.focal ? `f ${camera.focal.toFixed(1)} px, ${camera.field.toFixed(1)}° wide` : "panorama";
  const rest = Object.entries(camera.params).filter(([name]) => !["f", "fx", "fy", "cx", "cy"].includes(name));
  return `${camera.model}: ${focal}${rest.map(([name, value]) => `, ${name} ${Number(value.toPrecision(3))}`).join("")}`;
}
