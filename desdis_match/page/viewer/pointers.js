// Mouse, fingers and keys on the 3-D model.

const TWICE = 350; // milliseconds within which a second click is a double one

Object.assign(ModelView.prototype, /** @type {ThisType<ModelView>} */ ({
  listenToPointers() {
    const { overlay } = this;
    const pointers = new Map();
    let moved = false;
    const changed = () => {
      this.stop();
      this.fitted = false;
      this.moving();
    };
    overlay.addEventListener("contextmenu", (event) => event.preventDefault());
    overlay.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.orbit.distance *= Math.exp(event.deltaY * (event.deltaMode ? 0.05 : 0.0012));
      changed();
    }, { passive: false });
    overlay.addEventListener("pointerdown", (event) => {
      overlay.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, event);
      moved = false;
      const handle = upHandle(overlay.clientWidth, overlay.clientHeight);
      if (Math.hypot(event.offsetX - handle[0], event.offsetY - handle[1]) < 14) this.rolling = handle;
    });
    overlay.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return this.hover(this.measuring ? null : this.cameraAt(event.offsetX, event.offsetY));
      if (this.rolling) {
        this.rolling = [event.offsetX, event.offsetY];
        return this.redraw(false);
      }
      const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
      if (!moved && Math.hypot(dx, dy) < 3) return;
      moved = true;
      const other = [...pointers.values()].find((pointer) => pointer.pointerId !== event.pointerId);
      const { clientHeight } = overlay;
      if (other) {
        const span = (e) => Math.hypot(e.clientX - other.clientX, e.clientY - other.clientY) || 1;
        this.orbit.distance *= span(before) / span(event);
        this.orbit.pan(dx / 2, dy / 2, clientHeight);
      } else if (event.shiftKey || event.buttons & 6) this.orbit.pan(dx, dy, clientHeight);
      else this.orbit.turn(-dx * 0.006, dy * 0.006);
      pointers.set(event.pointerId, event);
      changed();
    });
    overlay.addEventListener("pointerup", (event) => {
      if (!pointers.delete(event.pointerId)) return;
      if (this.rolling) this.roll();
      else if (!moved) this.click(event.offsetX, event.offsetY);
    });
    overlay.addEventListener("pointercancel", (event) => { pointers.delete(event.pointerId); this.rolling = null; });
    overlay.addEventListener("pointerleave", () => this.hover(null));
    overlay.addEventListener("keydown", (event) => {
      if (this.key(event)) {
        event.preventDefault();
        event.stopPropagation();
        changed();
      }
    });
  },

  // A click picks, or measures; a second one on the same camera opens its photo.
  click(x, y) {
    if (this.measuring) {
      const place = this.pointAt(x, y);
      if (place) this.setMeasured([...(this.measured.length === 2 ? [] : this.measured), place]);
      return;
    }
    const i = this.cameraAt(x, y);
    const now = performance.now();
    if (i !== null && this.clicked && this.clicked.i === i && now - this.clicked.now < TWICE) this.onOpen(i);
    else this.onPick(i);
    this.clicked = { i, now };
  },

  // What lies where the handle was dragged to becomes up.
  roll() {
    const { clientWidth, clientHeight } = this.overlay;
    const [cx, cy] = gizmoCentre(clientWidth, clientHeight);
    const angle = Math.atan2(this.rolling[0] - cx, cy - this.rolling[1]);
    this.rolling = null;
    const { right, up, back } = this.orbit.pose();
    const turned = V.add(V.mul(up, Math.cos(angle)), V.mul(right, Math.sin(angle)));
    this.orbit.setUp(V.add(V.mul(turned, Math.cos(this.orbit.pitch)), V.mul(back, Math.sin(this.orbit.pitch))));
    this.fitted = false;
    this.redraw();
  },

  // Arrows turn, with shift they move, plus and minus zoom, Home shows all, Enter measures at the middle; returns whether a key was one of these.
  key(event) {
    const { orbit } = this;
    const [x, y] = ARROWS[event.key] || [0, 0];
    if (x || y) {
      if (event.shiftKey) orbit.pan(-30 * x, -30 * y, this.overlay.clientHeight);
      else orbit.turn(0.08 * x, -0.08 * y);
    } else if (event.key === "+" || event.key === "=") orbit.distance /= 1.15;
    else if (event.key === "-") orbit.distance *= 1.15;
    else if (event.key === "Home") setTimeout(() => this.reset());
    else if (event.key === "Enter" && this.measuring) this.click(this.overlay.clientWidth / 2, this.overlay.clientHeight / 2);
    else return false;
    return true;
  },
}));

// The line from the axes to where the handle of up is dragged.
function drawRolling(context, place, width, height) {
  context.strokeStyle = color("picked");
  context.lineWidth = 2;
  context.beginPath();
  context.moveTo(...gizmoCentre(width, height));
  context.lineTo(...place);
  context.stroke();
}
