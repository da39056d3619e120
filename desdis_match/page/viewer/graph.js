// Which images were matched with which: a graph, the same seen from above the cameras, or a matrix.

class GraphPanel {
  constructor({ onImage, onPair }) {
    this.kind = "graph";
    this.picked = null;
    this.hovered = null; // {image} or {pair}
    this.images = Data.meta.images.map((_, i) => i).filter((i) => !Data.meta.images[i].unusable);
    const { pairs } = Data.meta;
    this.weights = pairs.image0.map((_, p) => (pairs.verified[p] < 0 ? pairs.matches[p] : pairs.verified[p]));
    this.most = Math.max(1, ...this.weights.slice(0, 1), this.weights.reduce((a, b) => Math.max(a, b), 1));
    this.thumbnails = new Map();
    this.zoom = new ZoomCanvas(byId("graph-canvas"), {
      draw: (context) => (this.kind === "matrix" ? this.drawMatrix(context) : this.drawGraph(context)),
      click: (x, y) => {
        const found = this.find(x, y);
        if (found && "image" in found) onImage(found.image);
        else if (found) onPair(found.pair);
      },
      hover: (x, y) => this.hover(this.find(x, y)),
    });
    this.zoom.margin = 48;
    for (const radio of document.querySelectorAll("[name=graph-kind]")) {
      radio.addEventListener("change", () => this.choose(radio.value));
    }
    byId("graph-least").value = this.startLeast();
    byId("graph-least").addEventListener("input", () => this.setLeast());
    this.setLeast();
  }

  // As many edges as one can read: at most 12 an image.
  startLeast() {
    const sorted = [...this.weights].sort((a, b) => b - a);
    const limit = sorted[Math.min(12 * Math.max(this.images.length, 5), sorted.length - 1)] || 0;
    return limit > 1 && sorted.length > 12 * this.images.length ? Math.ceil((100 * Math.log(limit)) / Math.log(this.most + 1)) : 0;
  }

  setLeast() {
    const v = Number(byId("graph-least").value);
    this.least = v === 0 ? 1 : Math.min(Math.round(Math.exp((v / 100) * Math.log(this.most + 1))), this.most);
    this.edges = this.weights.map((_, p) => p).filter((p) => this.weights[p] >= this.least);
    byId("graph-least-value").textContent = count(this.least);
    const verified = Data.meta.pairs.verified.some((v) => v >= 0);
    byId("graph-note").textContent =
      `${count(this.edges.length)} edges by ${verified ? "verified matches" : "matches, none verified yet"}`;
    this.zoom.redraw();
  }

  open() {
    if (this.opened) return this.zoom.redraw();
    this.opened = true;
    this.choose("graph");
    if (this.images.length <= 60) this.loadThumbnails();
  }

  async loadThumbnails() {
    for (const i of this.images) {
      const photo = await Data.photo(i);
      if (!photo) continue;
      const [width, height] = Data.size(i);
      const side = 96 / Math.max(width, height);
      const canvas = make("canvas", { width: Math.round(width * side), height: Math.round(height * side) });
      canvas.getContext("2d").drawImage(photo, 0, 0, canvas.width, canvas.height);
      this.thumbnails.set(i, canvas);
    }
    this.zoom.redraw();
  }

  choose(kind) {
    this.kind = kind;
    if (kind === "matrix") this.zoom.show(1000, 1000);
    else {
      this.places = this.springs();
      this.zoom.show(1000, 700);
    }
  }

  // Fruchterman and Reingold's springs, from a circle; pairs with many matches pull more.
  springs() {
    if (this.springPlaces) return this.springPlaces;
    const n = this.images.length;
    const row = new Map(this.images.map((image, k) => [image, k]));
    const { pairs } = Data.meta;
    const x = this.images.map((_, k) => Math.cos((2 * Math.PI * k) / n) * 0.5);
    const y = this.images.map((_, k) => Math.sin((2 * Math.PI * k) / n) * 0.5);
    const rest = 1 / Math.sqrt(Math.max(n, 1));
    const pulls = this.weights
      .map((weight, p) => [row.get(pairs.image0[p]), row.get(pairs.image1[p]), weight / this.most])
      .filter(([, , pull]) => pull > 0.003);
    const rounds = n > 1200 ? 40 : 250;
    for (let round = 0; round < rounds; round++) {
      const dx = new Float64Array(n), dy = new Float64Array(n);
      for (let a = 0; a < n; a++) {
        for (let b = a + 1; b < n; b++) {
          const ux = x[a] - x[b], uy = y[a] - y[b];
          const push = (rest * rest) / Math.max(ux * ux + uy * uy, 1e-6);
          dx[a] += ux * push; dy[a] += uy * push;
          dx[b] -= ux * push; dy[b] -= uy * push;
        }
      }
      for (const [a, b, pull] of pulls) {
        const ux = x[a] - x[b], uy = y[a] - y[b];
        const force = (Math.hypot(ux, uy) / rest) * Math.sqrt(pull) * 1.5;
        dx[a] -= ux * force; dy[a] -= uy * force;
        dx[b] += ux * force; dy[b] += uy * force;
      }
      const most = 0.08 * (1 - round / rounds) + 0.001;
      for (let a = 0; a < n; a++) {
        dx[a] -= x[a] * 0.3; dy[a] -= y[a] * 0.3; // gravity keeps what is not connected in sight
        const length = Math.hypot(dx[a], dy[a]) || 1;
        x[a] += (dx[a] / length) * Math.min(length, most);
        y[a] += (dy[a] / length) * Math.min(length, most);
      }
    }
    const low = [x.reduce((a, b) => Math.min(a, b), 1e9), y.reduce((a, b) => Math.min(a, b), 1e9)];
    const high = [x.reduce((a, b) => Math.max(a, b), -1e9), y.reduce((a, b) => Math.max(a, b), -1e9)];
    this.springPlaces = new Map(this.images.map((image, k) => [image, [
      (1000 * (x[k] - low[0])) / (high[0] - low[0] || 1),
      (700 * (y[k] - low[1])) / (high[1] - low[1] || 1),
    ]]));
    return this.springPlaces;
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
        make("b", { textContent: images[pairs.image0[p]].name }),
        make("b", { textContent: images[pairs.image1[p]].name }),
        pairs.verified[p] < 0 ? `${count(pairs.matches[p])} matches, not verified`
          : `${count(pairs.verified[p])} of ${count(pairs.matches[p])} matches verified`));
    }
    this.zoom.redraw();
  }

  // Where node i is on screen; tests click there.
  nodeAt(i) { return this.zoom.toScreen(...this.places.get(i)); }

  drawGraph(context) {
    if (!this.places) return;
    const { pairs, images } = Data.meta;
    const { zoom } = this;
    const focus = this.hovered && "image" in this.hovered ? this.hovered.image : null;
    const busy = Math.min(1, 400 / Math.max(this.edges.length, 1));
    // Weak edges first, so that strong ones lie on top.
    for (let k = this.edges.length - 1; k >= 0; k--) {
      const p = this.edges[k];
      const mine = focus !== null && (pairs.image0[p] === focus || pairs.image1[p] === focus);
      const hovered = this.hovered && this.hovered.pair === p;
      const strength = Math.sqrt(this.weights[p] / this.most);
      context.globalAlpha = mine || hovered ? 1 : focus !== null ? 0.08 : Math.max(0.12, strength * (0.35 + 0.5 * busy));
      context.lineWidth = hovered ? 5 : 0.8 + 5 * strength * (0.4 + 0.6 * busy);
      context.strokeStyle = mine || hovered ? color("picked") : color("accent");
      context.beginPath();
      context.moveTo(...zoom.toScreen(...this.places.get(pairs.image0[p])));
      context.lineTo(...zoom.toScreen(...this.places.get(pairs.image1[p])));
      context.stroke();
    }
    context.globalAlpha = 1;
    const large = Math.min(1.6, Math.max(1, zoom.scale / zoom.least / 2 + 0.5));
    for (const [image, place] of this.places) {
      const [x, y] = zoom.toScreen(...place);
      const thumbnail = this.thumbnails.get(image);
      const ring = image === this.picked || image === focus ? color("picked") : images[image].registered ? color("good") : color("bad");
      if (thumbnail) {
        const side = (this.images.length > 30 ? 30 : 44) * large;
        const scale = side / Math.max(thumbnail.width, thumbnail.height);
        const [width, height] = [thumbnail.width * scale, thumbnail.height * scale];
        context.fillStyle = ring;
        context.fillRect(x - width / 2 - 2, y - height / 2 - 2, width + 4, height + 4);
        context.drawImage(thumbnail, x - width / 2, y - height / 2, width, height);
      } else {
        context.beginPath();
        context.arc(x, y, (this.images.length > 150 ? 4 : 7) * large, 0, 2 * Math.PI);
        context.fillStyle = images[image].registered ? ring : color("paper");
        context.fill();
        context.lineWidth = 2;
        context.strokeStyle = ring;
        context.stroke();
      }
    }
    context.fillStyle = color("soft");
    context.font = "12px system-ui, sans-serif";
    if (images.some((image) => !image.registered)) {
      context.fillStyle = color("bad");
      context.fillText("outlined like this: not in the model", 12, 20);
    }
  }

  drawMatrix(context) {
    const { pairs } = Data.meta;
    const { zoom } = this;
    const cell = 1000 / this.images.length;
    const row = new Map(this.images.map((image, k) => [image, k]));
    const [left, top] = zoom.toScreen(0, 0);
    context.fillStyle = color("paper");
    context.fillRect(left, top, 1000 * zoom.scale, 1000 * zoom.scale);
    const side = Math.max(cell * zoom.scale - (cell * zoom.scale > 6 ? 1 : 0), 1);
    const fill = (a, b, style) => {
      context.fillStyle = style;
      const [x, y] = zoom.toScreen(a * cell, b * cell);
      context.fillRect(x, y, side, side);
    };
    for (const p of this.edges) {
      const [a, b] = [row.get(pairs.image0[p]), row.get(pairs.image1[p])];
      const style = `rgb(${ramp(Math.log(this.weights[p] + 1) / Math.log(this.most + 1))})`;
      fill(a, b, style);
      fill(b, a, style);
      if (this.hovered && this.hovered.pair === p) { fill(a, b, color("picked")); fill(b, a, color("picked")); }
    }
    for (const [image, k] of row) fill(k, k, image === this.picked ? color("picked") : color("line"));
  }
}

function fillImageCard(card, i) {
  const image = Data.meta.images[i];
  const url = Data.photoUrl(i);
  card.replaceChildren(
    ...(url ? [make("img", { src: url, alt: "" })] : []),
    make("div", {},
      make("b", { textContent: image.name }),
      `${count(image.keypoints)} keypoints, ${count(image.points)} in the model`,
      make("br"),
      image.registered ? `${count(image.pairs)} verified pairs` : "not registered" + (image.reason ? ": " + image.reason : "")));
}
