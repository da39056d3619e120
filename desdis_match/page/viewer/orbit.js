// Where the viewer of the 3-D model stands: turned round a target, with the model's up on the screen's upright.

const FIELD = 0.9; // vertical field of view of the viewer, radians

class Orbit {
  constructor(model) {
    this.radius = model.radius;
    this.axes = Orbit.frame(V.unit(model.up));
    this.yaw = 0.6;
    this.pitch = 0.42;
    this.distance = 3 * model.radius;
    this.target = model.middle;
  }

  // Three axes at right angles, the last one `up`.
  static frame(up) {
    const side = V.unit(V.cross(Math.abs(up[0]) < 0.9 ? [1, 0, 0] : [0, 1, 0], up));
    return [side, V.cross(up, side), up];
  }

  // Eye position and the viewer's right, up and backward axes in the world.
  pose() {
    const [a, b, up] = this.axes;
    const flat = V.add(V.mul(a, Math.cos(this.yaw)), V.mul(b, Math.sin(this.yaw)));
    const back = V.add(V.mul(flat, Math.cos(this.pitch)), V.mul(up, Math.sin(this.pitch)));
    const right = V.unit(V.cross(up, flat));
    return { eye: V.add(this.target, V.mul(back, this.distance)), right, up: V.cross(back, right), back };
  }

  // Look along `forward`, without roll.
  face(forward) {
    const back = V.mul(V.unit(forward), -1);
    this.yaw = Math.atan2(V.dot(back, this.axes[1]), V.dot(back, this.axes[0]));
    this.pitch = Math.asin(Math.min(Math.max(V.dot(back, this.axes[2]), -1), 1));
  }

  lookFrom(eye, forward) {
    this.distance = this.radius;
    this.target = V.add(eye, V.mul(V.unit(forward), this.distance));
    this.face(forward);
  }

  // Another up; what is looked at stays.
  setUp(up) {
    const { back } = this.pose();
    this.axes = Orbit.frame(V.unit(up));
    this.face(V.mul(back, -1));
    this.pitch = Math.min(Math.max(this.pitch, -1.5), 1.5);
  }

  turn(yaw, pitch) {
    this.yaw += yaw;
    this.pitch = Math.min(Math.max(this.pitch + pitch, -1.55), 1.55);
  }

  // By CSS pixels of a canvas of this height.
  pan(dx, dy, height) {
    const { right, up } = this.pose();
    const step = this.perPixel(height);
    this.target = V.add(this.target, V.add(V.mul(right, -dx * step), V.mul(up, dy * step)));
  }

  // Units of the model that a CSS pixel covers at the target's distance.
  perPixel(height) { return (2 * Math.tan(FIELD / 2) * this.distance) / height; }

  // Column-major clip-from-world matrix, as WebGL wants it.
  matrix(width, height) {
    const { eye, right, up, back } = this.pose();
    const focal = 1 / Math.tan(FIELD / 2);
    const near = this.near(), far = this.distance * 4 + this.radius * 50;
    const [fx, fy] = [(focal * height) / width, focal];
    const depth = [-(far + near) / (far - near), (-2 * far * near) / (far - near)];
    const rows = [V.mul(right, fx), V.mul(up, fy), V.mul(back, depth[0]), V.mul(back, -1)];
    const shift = [-fx * V.dot(right, eye), -fy * V.dot(up, eye), -depth[0] * V.dot(back, eye) + depth[1], V.dot(back, eye)];
    return new Float32Array([0, 1, 2].flatMap((k) => rows.map((row) => row[k])).concat(shift));
  }

  near() { return this.distance * 0.01; }

  // World place -> CSS pixels and depth, or null for what lies behind the viewer.
  projector(width, height) {
    const m = this.matrix(width, height);
    const near = this.near();
    return (place) => {
      const [x, y, z] = place;
      const w = m[3] * x + m[7] * y + m[11] * z + m[15];
      if (w <= near) return null;
      return [
        ((m[0] * x + m[4] * y + m[8] * z + m[12]) / w + 1) * 0.5 * width,
        (1 - (m[1] * x + m[5] * y + m[9] * z + m[13]) / w) * 0.5 * height,
        w,
      ];
    };
  }

  // Move so that nearly all points and all of what else is given fill the canvas, as seen from where the viewer is
  // turned to.
  fit(points, others, width, height) {
    const { right, up, back } = this.pose();
    const focal = height / 2 / Math.tan(FIELD / 2);
    // Room for the tools' marks at the edges, as slopes: left, top, right, bottom.
    const room = [0.06 * width, 0.07 * height, 0.94 * width, 0.87 * height].map((v, k) => (v - (k % 2 ? height : width) / 2) / focal);
    const axes = [right, V.mul(up, -1), V.mul(back, -1)];
    const [near, all] = [points, others].map((places) => places.map((place) => axes.map((axis) => V.dot(axis, place))));
    const least = (value) => Math.min(...all.map(value), near.length ? quantile(near.map(value), 0.005) : Infinity);
    const most = (value) => -least((place) => -value(place));
    // A place is inside the left edge where x - eye_x >= slope (z - eye_z); so each edge gives a line for the eye.
    const lines = room.map((slope, k) => (k < 2 ? least : most)((place) => place[k % 2] - slope * place[2]));
    const z = Math.min(...[0, 1].map((k) => (lines[k + 2] - lines[k]) / (room[k] - room[k + 2])));
    const depth = Math.max(quantile((near.length ? near : all).map((place) => place[2]), 0.5) - z, 0.1 * this.radius);
    // The direction with room to spare has what is seen in its middle: the further the eye, the lower all slopes.
    const eye = [0, 1].map((k) => {
      const start = (lines[k] + lines[k + 2] + (room[k] + room[k + 2]) * z) / 2;
      let [low, high] = [start - 2 * depth, start + 2 * depth];
      for (let round = 0; round < 24; round++) {
        const at = (low + high) / 2;
        const slope = (place) => (place[k] - at) / Math.max(place[2] - z, 0.01 * depth);
        if (least(slope) + most(slope) > room[k] + room[k + 2]) low = at;
        else high = at;
      }
      return (low + high) / 2;
    });
    this.distance = depth;
    const from = V.add(V.add(V.mul(right, eye[0]), V.mul(up, -eye[1])), V.mul(back, -z));
    this.target = V.sub(from, V.mul(back, depth));
  }
}
