// The length between two points of the model.

Object.assign(ModelView.prototype, /** @type {ThisType<ModelView>} */ ({
  setMeasuring(on) {
    this.measuring = on;
    byId("model-measure").setAttribute("aria-pressed", on);
    this.setMeasured([]);
  },

  setMeasured(places) {
    this.measured = places;
    byId("measure-true").value = "";
    this.sayMeasured();
    this.redraw();
  },

  sayMeasured() {
    byId("model-measured").hidden = !this.measuring;
    byId("measure-entry").hidden = this.measured.length < 2;
    byId("measure-text").textContent = this.measured.length === 2 ? this.measuredText() : `Choose ${this.measured.length ? "the second" : "the first"} point`;
  },

  measuredText() { return showLength(this.perUnit * V.length(V.sub(...this.measured)), this.unit); },

  // The point drawn at this place, nearest to the viewer, or null.
  pointAt(x, y) {
    const { clientWidth: width, clientHeight: height } = this.overlay;
    const project = this.orbit.projector(width, height);
    const { positions, lengths, errors } = this.cloud;
    const { least, steps, cut } = this.limits();
    let [best, nearest] = [null, Infinity];
    for (let k = 0; k < this.numPoints; k++) {
      if (lengths[k] < least || errors[k] > steps) continue;
      const place = [positions[3 * k], positions[3 * k + 1], positions[3 * k + 2]];
      const at = project(place);
      if (!at || Math.abs(at[0] - x) > 12 || Math.abs(at[1] - y) > 12) continue;
      if (V.length(V.sub(place, this.model.middle)) > cut) continue;
      const cost = at[2] / this.orbit.distance + Math.hypot(at[0] - x, at[1] - y) / 6;
      if (cost < nearest) [best, nearest] = [place, cost];
    }
    return best;
  },
}));
