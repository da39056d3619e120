// What is drawn above the points on a plain canvas: cameras, their path, axes, the scale bar, a measured length.

// The image plane's corners in the world: top left, top right, bottom right, bottom left of the stored photo.
function cameraCorners(camera, size) {
  const { rotation: r, center, half } = camera;
  return [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([u, v]) => {
    const [x, y, z] = [u * half[0] * size, v * half[1] * size, size];
    return [0, 1, 2].map((k) => center[k] + r[k] * x + r[3 + k] * y + r[6 + k] * z);
  });
}

// Both ends of each edge of all cameras, x, y, z.
function cameraLines(cameras, size) {
  const places = new Float32Array(cameras.length * 48);
  const corner = new Float64Array(12);
  let at = 0;
  const add = (from, k) => { for (let c = 0; c < 3; c++) places[at++] = from[k + c]; };
  for (const { center, rotation: r, half } of cameras) {
    for (let k = 0; k < 4; k++) {
      const [x, y] = [(k === 1 || k === 2 ? size : -size) * half[0], (k < 2 ? -size : size) * half[1]];
      for (let c = 0; c < 3; c++) corner[3 * k + c] = center[c] + r[c] * x + r[3 + c] * y + r[6 + c] * size;
    }
    for (let k = 0; k < 4; k++) {
      add(corner, 3 * k);
      add(corner, 3 * ((k + 1) % 4));
      add(center, 0);
      add(corner, 3 * k);
    }
  }
  return places;
}

// For each of those corners its place (0 to 1) in the photo as the page has it, upright by EXIF's orientation.
function uprightCorners(turn = 1) {
  return [[0, 0], [1, 0], [1, 1], [0, 1]].map(([x, y]) => ({
    2: [1 - x, y], 3: [1 - x, 1 - y], 4: [x, 1 - y], 5: [y, x], 6: [1 - y, x], 7: [1 - y, 1 - x], 8: [y, 1 - x],
  }[turn] || [x, y]));
}

// cameras: images with poses; special: image -> drawn in the colour of what is picked; photo: the image that has one.
function drawCameras(context, project, cameras, size, special, photo) {
  const [plain, picked] = [color("camera"), color("picked")];
  for (const chosen of [false, true]) {
    context.strokeStyle = context.fillStyle = chosen ? picked : plain;
    context.lineWidth = chosen ? 2 : 1;
    for (const camera of cameras) {
      if (special(camera.i) !== chosen) continue;
      const apex = project(camera.center);
      const corners = cameraCorners(camera, size).map(project);
      if (!apex || corners.some((corner) => !corner)) continue;
      context.beginPath();
      context.moveTo(corners[3][0], corners[3][1]);
      for (const corner of corners) context.lineTo(corner[0], corner[1]);
      for (const corner of corners) {
        context.moveTo(apex[0], apex[1]);
        context.lineTo(corner[0], corner[1]);
      }
      context.stroke();
      if (camera.i === photo) continue;
      context.globalAlpha = 0.16;
      context.beginPath();
      for (const corner of corners) context.lineTo(corner[0], corner[1]);
      context.fill();
      context.globalAlpha = 1;
    }
  }
}

// A line through places, broken where one lies behind the viewer.
function drawPath(context, project, places, style) {
  context.strokeStyle = style;
  context.lineWidth = 1.5;
  context.beginPath();
  let before = null;
  for (const place of places) {
    const at = project(place);
    if (at && before) context.lineTo(at[0], at[1]);
    else if (at) context.moveTo(at[0], at[1]);
    before = at;
  }
  context.stroke();
}

const GIZMO = { size: 38, right: 58, bottom: 58 };
const AXES = [["x", [1, 0, 0], "#e5484d"], ["y", [0, 1, 0], "#30a46c"], ["z", [0, 0, 1], "#3e8ef7"]];

// The world's axes seen from here, and the handle of the direction that is up.
function drawAxes(context, orbit, width, height) {
  const { right, up, back } = orbit.pose();
  const [cx, cy] = [width - GIZMO.right, height - GIZMO.bottom];
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  const nearLast = [...AXES].sort((a, b) => V.dot(a[1], back) - V.dot(b[1], back));
  for (const [name, axis, style] of nearLast) {
    const end = [cx + 0.68 * GIZMO.size * V.dot(right, axis), cy - 0.68 * GIZMO.size * V.dot(up, axis)];
    context.strokeStyle = context.fillStyle = style;
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(cx, cy);
    context.lineTo(...end);
    context.stroke();
    context.fillText(name, end[0] + 9 * V.dot(right, axis), end[1] - 9 * V.dot(up, axis));
  }
  const [hx, hy] = upHandle(width, height);
  context.fillStyle = context.strokeStyle = color("picked");
  context.beginPath();
  context.arc(hx, hy, 5, 0, 2 * Math.PI);
  context.fill();
  context.fillText("up", hx, hy - 12);
  context.textAlign = "start";
  context.textBaseline = "alphabetic";
}

// Where the handle is; the screen's upright is always up.
const upHandle = (width, height) => [width - GIZMO.right, height - GIZMO.bottom - GIZMO.size - 6];
const gizmoCentre = (width, height) => [width - GIZMO.right, height - GIZMO.bottom];

// An arrow at the edge towards a camera that is out of sight.
function drawAway(context, orbit, center, width, height) {
  const { eye, right, up, back } = orbit.pose();
  const out = V.sub(center, eye);
  const [x, y, z] = [V.dot(out, right), -V.dot(out, up), -V.dot(out, back)];
  const focal = height / 2 / Math.tan(FIELD / 2);
  if (z > orbit.near() && Math.abs((focal * x) / z) < width / 2 && Math.abs((focal * y) / z) < height / 2) return;
  const length = Math.hypot(x, y) || 1;
  const [ux, uy] = [x / length, y / length];
  const reach = Math.min((width / 2 - 20) / Math.max(Math.abs(ux), 1e-9), (height / 2 - 20) / Math.max(Math.abs(uy), 1e-9));
  const [tx, ty] = [width / 2 + ux * reach, height / 2 + uy * reach];
  context.fillStyle = color("picked");
  context.beginPath();
  for (const [along, side] of [[10, 0], [-8, 9], [-8, -9]]) context.lineTo(tx + ux * along - uy * side, ty + uy * along + ux * side);
  context.fill();
  context.font = "bold 12px system-ui, sans-serif";
  context.textAlign = ux > 0.3 ? "right" : ux < -0.3 ? "left" : "center";
  context.lineWidth = 4;
  context.strokeStyle = color("scene");
  const at = [tx - 16 * ux, ty - 20 * uy + 4];
  context.strokeText("its camera", at[0], at[1]);
  context.fillText("its camera", at[0], at[1]);
  context.textAlign = "start";
}

// A length that holds at the distance of the target. unit: "m" or "units"; bottom: what it stands on.
function drawScaleBar(context, perPixel, unit, bottom) {
  const length = niceLength(130 * perPixel);
  const wide = length / perPixel;
  const [x, y] = [14, bottom - 20];
  const text = showLength(length, unit);
  context.font = "12px system-ui, sans-serif";
  context.globalAlpha = 0.75;
  context.fillStyle = color("scene");
  context.fillRect(x - 4, y - 21, Math.max(wide, context.measureText(text).width + 4) + 8, 25);
  context.globalAlpha = 1;
  context.strokeStyle = context.fillStyle = color("ink");
  context.lineWidth = 1.5;
  context.beginPath();
  for (const [px, py] of [[x, y - 4], [x, y], [x + wide, y], [x + wide, y - 4]]) context.lineTo(px, py);
  context.stroke();
  context.fillText(text, x + 4, y - 6);
}

const showLength = (length, unit) => `${Number(length.toPrecision(4))} ${length === 1 ? unit.replace("units", "unit") : unit}`;

// What Enter measures.
function drawCross(context, x, y) {
  context.strokeStyle = color("picked");
  context.lineWidth = 1.5;
  context.beginPath();
  for (const [ux, uy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
    context.moveTo(x + 5 * ux, y + 5 * uy);
    context.lineTo(x + 14 * ux, y + 14 * uy);
  }
  context.stroke();
}

function drawMeasure(context, project, places, text) {
  const ends = places.map(project);
  context.strokeStyle = context.fillStyle = color("picked");
  context.lineWidth = 2;
  for (const end of ends) {
    if (!end) continue;
    context.beginPath();
    context.arc(end[0], end[1], 5, 0, 2 * Math.PI);
    context.stroke();
  }
  if (ends.length < 2 || !ends[0] || !ends[1]) return;
  context.beginPath();
  context.moveTo(ends[0][0], ends[0][1]);
  context.lineTo(ends[1][0], ends[1][1]);
  context.stroke();
  context.font = "bold 13px system-ui, sans-serif";
  const at = [(ends[0][0] + ends[1][0]) / 2 + 8, (ends[0][1] + ends[1][1]) / 2 - 8];
  const { width } = context.measureText(text);
  context.globalAlpha = 0.8;
  context.fillStyle = color("scene");
  context.fillRect(at[0] - 5, at[1] - 14, width + 10, 20);
  context.globalAlpha = 1;
  context.fillStyle = color("picked");
  context.fillText(text, ...at);
}
