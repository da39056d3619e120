// A canvas with a drawing that the wheel zooms and dragging moves. Content coordinates are the drawing's own;
// on screen they are content * scale + (x, y), in CSS pixels.

/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

class ZoomCanvas {
  constructor(canvas, { draw, click = (x, y, event) => {}, hover = (x, y, event) => {}, maxZoom = 40 }) {
    /** @type {HTMLCanvasElement} */
    this.canvas = canvas;
    this.draw = draw;
    this.maxZoom = maxZoom;
    this.margin = 12;
    this.foot = 0; // more room at the bottom
    this.content = [1, 1];
    [this.scale, this.x, this.y] = [1, 0, 0];
    this.pending = false;
    this.moved = false;
    this.pointers = new Map();
    new ResizeObserver(() => { if (!this.touched) this.fit(); this.redraw(); }).observe(canvas);
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("dblclick", () => { this.touched = false; this.fit(); });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, event);
      this.moved = false;
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = this.pointers.get(event.pointerId);
      if (!before) return hover(...this.toContent(event.offsetX, event.offsetY), event);
      const others = [...this.pointers.values()].filter((other) => other.pointerId !== event.pointerId);
      if (Math.hypot(event.clientX - before.clientX, event.clientY - before.clientY) > 3) this.moved = true;
      if (!this.moved) return;
      if (others.length) {
        const span = (e) => Math.hypot(e.clientX - others[0].clientX, e.clientY - others[0].clientY);
        this.zoom(span(event) / Math.max(span(before), 1), event.offsetX, event.offsetY);
      } else {
        this.x += event.clientX - before.clientX;
        this.y += event.clientY - before.clientY;
      }
      this.touched = true;
      this.pointers.set(event.pointerId, event);
      this.redraw();
    });
    const release = (event) => {
      if (this.pointers.delete(event.pointerId) && !this.moved && event.type === "pointerup") {
        click(...this.toContent(event.offsetX, event.offsetY), event);
      }
    };
    canvas.addEventListener("pointerup", release);
    canvas.addEventListener("pointercancel", release);
    canvas.addEventListener("keydown", (event) => { if (this.key(event)) event.preventDefault(); });
    canvas.addEventListener("pointerleave", (event) => { if (!this.pointers.size) hover(NaN, NaN, event); });
  }

  // Show content of this size wholly; call again when it changes.
  show(width, height) {
    this.content = [width, height];
    this.touched = false;
    this.fit();
  }

  fit() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const room = [Math.max(width - 2 * this.margin, 1), Math.max(height - 2 * this.margin - this.foot, 1)];
    this.least = Math.min(room[0] / this.content[0], room[1] / this.content[1]);
    this.scale = this.least;
    this.x = (width - this.content[0] * this.scale) / 2;
    this.y = (height - this.foot - this.content[1] * this.scale) / 2;
    this.redraw();
  }

  // Plus and minus zoom, arrows with shift move, Home shows all; returns whether a key was one of these.
  key(event) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const [x, y] = ARROWS[event.key] || [0, 0];
    if ((x || y) && event.shiftKey) {
      this.x += 40 * x;
      this.y += 40 * y;
      this.zoom(1, 0, 0);
    } else if (event.key === "+" || event.key === "=") this.zoom(1.25, width / 2, height / 2);
    else if (event.key === "-") this.zoom(0.8, width / 2, height / 2);
    else if (event.key === "Home") this.show(...this.content);
    else return false;
    return true;
  }

  zoom(factor, x, y) {
    const scale = Math.min(Math.max(this.scale * factor, this.least / 2), this.least * this.maxZoom);
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.touched = true;
    this.redraw();
  }

  /** @returns {Pair2} */
  toContent(x, y) { return [(x - this.x) / this.scale, (y - this.y) / this.scale]; }
  /** @returns {Pair2} */
  toScreen(x, y) { return [x * this.scale + this.x, y * this.scale + this.y]; }

  redraw() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      const { canvas } = this;
      const ratio = window.devicePixelRatio || 1;
      const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
      if (!width || !height) return;
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      const context = canvas.getContext("2d");
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
      this.draw(context);
    });
  }
}
