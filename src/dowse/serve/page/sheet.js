// Step 7 of 7, serve: the sheet the map is drawn on: where points lie on the screen, and how they look.

const RADIUS = 3;
const MARGIN = 28;
const REACH = 14;
const MAX_ZOOM = 24;

export class Sheet {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.points = [];
    this.labels = [];
    this.zoomed = { by: 1, x: 0, y: 0 };
    this.look = { colourOf: () => "", ink: "", paper: "", ring: "" };
    this.isDue = false;
    /** What is emphasised: the present point, points of hits, the points that are not dimmed (all where null). */
    this.shown = { present: null, hits: new Set(), only: null };
    new ResizeObserver(() => this.fit()).observe(canvas);
  }

  /** Show points of x and y in [-1, 1], and names at places among them. */
  set(points, labels) {
    this.points = points;
    this.labels = labels;
    this.zoomed = { by: 1, x: 0, y: 0 };
    this.due();
  }

  fit() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(this.canvas.clientWidth * ratio);
    this.canvas.height = Math.round(this.canvas.clientHeight * ratio);
    this.draw();
  }

  /** Where a point lies, in CSS pixels from the upper left. */
  at({ x, y }) {
    const { by, x: left, y: top } = this.zoomed;
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    return [
      width / 2 + (x + left) * by * (width / 2 - MARGIN),
      height / 2 - (y + top) * by * (height / 2 - MARGIN),
    ];
  }

  /** Return the index of the point nearest to a place on the screen, null if none is within reach. */
  nearest(x, y) {
    let [best, found] = [REACH ** 2, null];
    this.points.forEach((point, index) => {
      if (this.shown.only && !this.shown.only.has(index)) return;
      const [px, py] = this.at(point);
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < best) [best, found] = [distance, index];
    });
    return found;
  }

  /** Return the next point from one in a direction on the screen; straight ahead counts as nearer than aside. */
  towards(index, [dx, dy]) {
    if (index === null) return this.nearestToMiddle();
    const [fromX, fromY] = this.at(this.points[index]);
    let [best, found] = [Infinity, index];
    this.points.forEach((point, other) => {
      if (other === index || (this.shown.only && !this.shown.only.has(other))) return;
      const [x, y] = this.at(point);
      const ahead = (x - fromX) * dx + (y - fromY) * dy;
      const aside = Math.abs((x - fromX) * dy - (y - fromY) * dx);
      const far = ahead + 2 * aside;
      if (ahead > 0 && aside <= ahead && far < best) [best, found] = [far, other];
    });
    return found;
  }

  nearestToMiddle() {
    let [best, found] = [Infinity, null];
    this.points.forEach((point, index) => {
      if (this.shown.only && !this.shown.only.has(index)) return;
      const [x, y] = this.at(point);
      const distance = Math.hypot(x - this.canvas.clientWidth / 2, y - this.canvas.clientHeight / 2);
      if (distance < best) [best, found] = [distance, index];
    });
    return found;
  }

  /** Zoom by a factor, keeping a place of the screen (the middle if none) where it is. */
  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const by = Math.min(MAX_ZOOM, Math.max(1, this.zoomed.by * factor));
    const [halfX, halfY] = [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2];
    const moved = 1 / by - 1 / this.zoomed.by;
    this.zoomed.x += ((x - halfX) / (halfX - MARGIN)) * moved;
    this.zoomed.y -= ((y - halfY) / (halfY - MARGIN)) * moved;
    this.zoomed.by = by;
    this.keepInside();
  }

  pan(dx, dy) {
    this.zoomed.x += dx / this.zoomed.by / (this.canvas.clientWidth / 2 - MARGIN);
    this.zoomed.y -= dy / this.zoomed.by / (this.canvas.clientHeight / 2 - MARGIN);
    this.keepInside();
  }

  all() {
    this.zoomed = { by: 1, x: 0, y: 0 };
    this.due();
  }

  /** Bring a point into view. */
  reveal(index) {
    const [x, y] = this.at(this.points[index]);
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    if (x < MARGIN / 2 || y < MARGIN / 2 || x > width - MARGIN / 2 || y > height - MARGIN / 2) {
      this.pan(width / 2 - x, height / 2 - y);
    }
  }

  keepInside() {
    const most = 1 - 1 / this.zoomed.by;
    this.zoomed.x = Math.min(most, Math.max(-most, this.zoomed.x));
    this.zoomed.y = Math.min(most, Math.max(-most, this.zoomed.y));
    this.due();
  }

  /** Draw with the next frame. */
  due() {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      this.draw();
    });
  }

  draw() {
    const pen = this.canvas.getContext("2d");
    const ratio = window.devicePixelRatio || 1;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, this.canvas.clientWidth, this.canvas.clientHeight);
    const { present, hits, only } = this.shown;
    const radius = RADIUS * Math.min(2, Math.sqrt(this.zoomed.by));
    this.points.forEach((point, index) => {
      const [x, y] = this.at(point);
      pen.globalAlpha = only && !only.has(index) ? 0.12 : 0.85;
      pen.fillStyle = this.look.colourOf(index);
      disc(pen, x, y, radius);
      pen.fill();
    });
    pen.globalAlpha = 1;
    for (const index of hits) this.ring(pen, index, radius + 3, 2);
    this.drawLabels(pen);
    if (present !== null) this.ring(pen, present, radius + 5, 3);
  }

  ring(pen, index, radius, width) {
    const [x, y] = this.at(this.points[index]);
    pen.lineWidth = width;
    pen.strokeStyle = this.look.ring;
    disc(pen, x, y, radius);
    pen.stroke();
  }

  /** Write names where there is room for them, those of large folders first. */
  drawLabels(pen) {
    const placed = [];
    pen.font = `600 12px ${getComputedStyle(this.canvas).fontFamily}`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.lineJoin = "round";
    for (const { name, x, y } of this.labels) {
      const half = pen.measureText(name).width / 2 + 6;
      const [px, py] = this.at({ x, y });
      const cx = Math.min(this.canvas.clientWidth - half, Math.max(half, px));
      if (px < 0 || px > this.canvas.clientWidth || py < 0 || py > this.canvas.clientHeight) continue;
      const covers = ([ox, oy, oh]) => Math.abs(ox - cx) < oh + half && Math.abs(oy - py) < 20;
      if (placed.some(covers)) continue;
      placed.push([cx, py, half]);
      pen.lineWidth = 5;
      pen.strokeStyle = this.look.paper;
      pen.strokeText(name, cx, py);
      pen.fillStyle = this.look.ink;
      pen.fillText(name, cx, py);
    }
  }
}

function disc(pen, x, y, radius) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
}
