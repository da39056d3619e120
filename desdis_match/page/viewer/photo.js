// One photo with its keypoints.

class PhotoPanel {
  constructor() {
    this.image = null;
    this.zoom = new ZoomCanvas(byId("photo-canvas"), { draw: (context) => this.draw(context) });
    for (const id of ["photo-points", "photo-rest", "photo-length"]) {
      byId(id).addEventListener("change", () => { this.legend(); this.zoom.redraw(); });
    }
  }

  legend() {
    byId("photo-legend").hidden = this.image === null || !byId("photo-length").checked;
    fillLegend(byId("photo-legend"), "2", "10 or more photos");
  }

  async show(i) {
    this.image = i;
    const image = Data.meta.images[i];
    this.points = Data.keypoints(i);
    byId("photo-empty").hidden = true;
    byId("photo-name").replaceChildren(cutName(image.name));
    byId("photo-look").hidden = !image.registered;
    byId("photo-points-count").textContent = count(image.points);
    byId("photo-rest-count").textContent = count(image.keypoints - image.points);
    const out = whyOut(image);
    const placed = image.registered ? cameraLine(image.camera) : "not placed" + (out ? ": " + out : "");
    const { length } = this.points.lengths;
    const thinned = length < image.keypoints ? `; ${count(length)} of ${count(image.keypoints)} keypoints are on this page` : "";
    byId("photo-note").textContent = placed + thinned + (image.photo ? "" : "; the photo itself is not on this page");
    this.legend();
    this.photo = null;
    this.zoom.show(...Data.size(i));
    const photo = await Data.photo(i);
    if (this.image === i) {
      this.photo = photo;
      this.zoom.redraw();
    }
  }

  draw(context) {
    if (this.image === null) return;
    const { zoom } = this;
    drawPhoto(context, zoom, this.photo, 0, 0, ...zoom.content);
    const { xy, lengths } = this.points;
    const spacing = zoom.scale * Math.sqrt((zoom.content[0] * zoom.content[1]) / Math.max(lengths.length, 1));
    const radius = Math.min(Math.max(spacing * 0.24, 1.3), 4.5);
    const [good, bad] = [color("point"), color("miss")];
    const [withPoint, without, byLength] = ["photo-points", "photo-rest", "photo-length"].map((id) => byId(id).checked);
    for (const wanted of [false, true]) {
      if (!(wanted ? withPoint : without)) continue;
      for (let k = 0; k < lengths.length; k++) {
        if (lengths[k] > 0 !== wanted) continue;
        const [x, y] = zoom.toScreen(xy[2 * k], xy[2 * k + 1]);
        context.fillStyle = !wanted ? bad : byLength ? `rgb(${ramp((lengths[k] - 2) / 8)})` : good;
        context.beginPath();
        context.arc(x, y, wanted ? radius : radius * 0.75, 0, 2 * Math.PI);
        context.fill();
      }
    }
  }
}

function drawPhoto(context, zoom, photo, x, y, width, height) {
  const [left, top] = zoom.toScreen(x, y);
  context.fillStyle = color("line");
  context.fillRect(left, top, width * zoom.scale, height * zoom.scale);
  if (photo) context.drawImage(photo, left, top, width * zoom.scale, height * zoom.scale);
}
