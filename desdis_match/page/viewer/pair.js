// Two photos with their matches.

class PairPanel {
  constructor() {
    this.pair = null;
    this.hovered = -1;
    this.zoom = new ZoomCanvas(byId("pair-canvas"), {
      draw: (context) => this.draw(context),
      hover: (x, y) => this.hover(x, y),
    });
    for (const id of ["pair-model", "pair-verified", "pair-rejected", "pair-lines"]) {
      byId(id).addEventListener("change", () => this.zoom.redraw());
    }
    new ResizeObserver(() => { if (this.pair !== null) this.arrange(); }).observe(byId("pair-canvas"));
  }

  async show(p) {
    this.pair = p;
    this.hovered = -1;
    const { pairs, images } = Data.meta;
    const unverified = pairs.verified[p] < 0;
    this.images = [pairs.image0[p], pairs.image1[p]];
    this.matches = Data.matches(p);
    const counts = [0, 0, 0];
    for (const state of this.matches.states) counts[state]++;
    byId("pair-empty").hidden = true;
    byId("pair-name").replaceChildren(cutName(images[this.images[0]].name), " – ", cutName(images[this.images[1]].name));
    byId("pair-model-count").textContent = count(pairs.in_model[p]);
    byId("pair-verified-count").textContent = count(Math.max(pairs.verified[p], 0) - pairs.in_model[p]);
    byId("pair-rejected-count").textContent = count(pairs.matches[p] - Math.max(pairs.verified[p], 0));
    byId("pair-rejected-name").textContent = unverified ? "not verified" : "rejected";
    byId("pair-rejected").checked = counts[1] + counts[2] === 0;
    const kind = pairs.kinds[pairs.kind[p]].toLowerCase().replaceAll("_", " ") || "too few to verify";
    const shown = this.matches.states.length;
    byId("pair-note").textContent =
      (unverified ? `${count(pairs.matches[p])} matches, not verified` :
        `${count(pairs.verified[p])} of ${count(pairs.matches[p])} matches verified, ${kind}`) +
      (shown < pairs.matches[p] ? `; ${count(shown)} of them are on this page` : "") +
      (this.images.every((i) => images[i].photo) ? "" : "; a photo is not on this page");
    this.photos = [null, null];
    this.arrange();
    const photos = await Promise.all(this.images.map(Data.photo));
    if (this.pair === p) {
      this.photos = photos;
      this.zoom.redraw();
    }
  }

  // Side by side at one height, or one above the other at one width: what shows them larger.
  arrange() {
    const [[w0, h0], [w1, h1]] = this.images.map(Data.size);
    const { clientWidth: width, clientHeight: height } = byId("pair-canvas");
    const gap = 0.015;
    const beside = { size: [w0 / h0 + w1 / h1 + gap, 1], parts: [[0, 0, w0 / h0, 1], [w0 / h0 + gap, 0, w1 / h1, 1]] };
    const above = { size: [1, h0 / w0 + h1 / w1 + gap], parts: [[0, 0, 1, h0 / w0], [0, h0 / w0 + gap, 1, h1 / w1]] };
    const area = ({ size, parts }) => {
      const scale = Math.min(width / size[0], height / size[1]);
      return scale * scale * (parts[0][2] * parts[0][3] + parts[1][2] * parts[1][3]);
    };
    const best = area(beside) >= area(above) ? beside : above;
    this.parts = best.parts;
    this.factors = [best.parts[0][2] / w0, best.parts[1][2] / w1];
    this.zoom.show(...best.size);
  }

  // Both ends of match k in content coordinates.
  ends(k) {
    const { ends } = this.matches;
    return [0, 1].flatMap((side) => [
      this.parts[side][0] + ends[4 * k + 2 * side] * this.factors[side],
      this.parts[side][1] + ends[4 * k + 2 * side + 1] * this.factors[side],
    ]);
  }

  wanted() { return [byId("pair-rejected").checked, byId("pair-verified").checked, byId("pair-model").checked]; }

  hover(x, y) {
    if (this.pair === null) return;
    const wanted = this.wanted();
    let best = -1;
    let nearest = 9 / this.zoom.scale;
    for (let k = 0; k < this.matches.states.length; k++) {
      if (!wanted[this.matches.states[k]]) continue;
      const [x0, y0, x1, y1] = this.ends(k);
      const distance = Math.min(Math.hypot(x0 - x, y0 - y), Math.hypot(x1 - x, y1 - y));
      if (distance < nearest) [best, nearest] = [k, distance];
    }
    if (best !== this.hovered) {
      this.hovered = best;
      this.zoom.redraw();
    }
  }

  draw(context) {
    if (this.pair === null) return;
    const { zoom } = this;
    for (const side of [0, 1]) drawPhoto(context, zoom, this.photos[side], ...this.parts[side]);
    const { states } = this.matches;
    const wanted = this.wanted();
    const colors = [color("miss"), color("fair"), color("point")];
    const shown = states.reduce((sum, state) => sum + wanted[state], 0);
    const lines = Math.min(Number(byId("pair-lines").value), shown);
    const strength = Math.min(0.9, Math.max(0.15, 100 / Math.max(lines, 1)));
    const line = (k) => {
      const [x0, y0, x1, y1] = this.ends(k);
      context.beginPath();
      context.moveTo(...zoom.toScreen(x0, y0));
      context.lineTo(...zoom.toScreen(x1, y1));
      context.stroke();
    };
    const dots = (k, radius) => {
      const [x0, y0, x1, y1] = this.ends(k);
      for (const [x, y] of [zoom.toScreen(x0, y0), zoom.toScreen(x1, y1)]) {
        context.beginPath();
        context.arc(x, y, radius, 0, 2 * Math.PI);
        context.fill();
      }
    };
    const [, , width, height] = this.parts[0];
    const radius = Math.min(Math.max(0.16 * zoom.scale * Math.sqrt((width * height) / Math.max(shown, 1)), 0.7), 2.4);
    context.lineWidth = 1.2;
    let seen = 0;
    for (const state of [0, 1, 2]) {
      if (!wanted[state]) continue;
      context.strokeStyle = context.fillStyle = colors[state];
      for (let k = 0; k < states.length; k++) {
        if (states[k] !== state) continue;
        // Every so many matches has a line: as many as were asked for, evenly spread.
        seen += lines;
        if (seen >= shown) {
          seen -= shown;
          context.globalAlpha = this.hovered >= 0 ? strength * 0.35 : strength;
          line(k);
        }
        context.globalAlpha = 0.9;
        dots(k, radius);
      }
    }
    context.globalAlpha = 1;
    if (this.hovered >= 0 && wanted[states[this.hovered]]) {
      context.lineWidth = 4;
      context.strokeStyle = "#fff";
      line(this.hovered);
      context.lineWidth = 2;
      context.strokeStyle = context.fillStyle = colors[states[this.hovered]];
      line(this.hovered);
      dots(this.hovered, 5);
    }
  }
}
