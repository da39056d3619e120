// What is made of the view of a model: a flight through its cameras, and a picture.

Object.assign(ModelView.prototype, /** @type {ThisType<ModelView>} */ ({
  // Fly from photo to photo in the order of their names.
  play() {
    const route = this.cameras;
    const seconds = Math.min(Math.max(route.length * 0.6, 4), 60);
    const start = performance.now();
    byId("model-play").textContent = "■ Stop";
    const frame = (now) => {
      const t = Math.min(Math.max((now - start) / 1000 / seconds, 0), 1) * (route.length - 1);
      const [a, b] = [route[Math.floor(t)], route[Math.min(Math.floor(t) + 1, route.length - 1)]];
      const part = t - Math.floor(t), soft = part * part * (3 - 2 * part);
      const forward = V.mix(a.rotation.slice(6, 9), b.rotation.slice(6, 9), soft);
      this.orbit.lookFrom(V.mix(a.center, b.center, soft), forward);
      this.moving();
      if (t < route.length - 1) this.playing.frame = requestAnimationFrame(frame);
      else this.stop();
    };
    this.fitted = false;
    this.playing = { frame: requestAnimationFrame(frame) };
  },

  stop() {
    if (!this.playing) return;
    cancelAnimationFrame(this.playing.frame);
    this.playing = null;
    byId("model-play").textContent = "▶ Play";
  },

  // What is seen as one canvas, and as a file.
  snapshot() {
    this.draw();
    if (this.gl) this.renderer.rest();
    const { width, height } = this.overlay;
    const canvas = make("canvas", { width, height });
    const context = canvas.getContext("2d");
    context.fillStyle = color("scene");
    context.fillRect(0, 0, width, height);
    if (this.gl) context.drawImage(byId("model-points"), 0, 0);
    context.drawImage(this.overlay, 0, 0);
    return canvas;
  },

  savePicture() {
    this.snapshot().toBlob((blob) => {
      const link = make("a", { href: URL.createObjectURL(blob), download: `${Data.meta.title}.png` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  },
}));
