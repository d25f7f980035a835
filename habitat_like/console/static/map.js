"use strict";
// Maps: elements with data-map="ADDRESS" show the GeoJSON there, over coast lines of our own. The
// same is in a table beside each; with data-live, both stay fresh while somebody looks at them.

// Metres from which on a track has the next colour.
const BANDS = [1000, 5000, 10000, 15000, 20000, 25000, 30000];
// Milliseconds between two looks: usually, while the server still reads its archive, after an error.
const USUAL = 5000, READING = 2000, AFTER_ERROR = 15000;
// Looks after which all is asked for again, as old points leave the window.
const AGAIN = 120;
// Layers that are drawn at once; then a person has a turn.
const AT_ONCE = 25;
// Payloads whose names are shown beside their marks at most, and seconds after which one is grey.
const NAMED = 40, OLD = 3600;

const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
// The longitude nearest to another: a track may go beyond 180 degrees.
const near = (longitude, other) => longitude + 360 * Math.round((other - longitude) / 360);
const band = (altitude) => altitude === null ? "band-none" : `band${BANDS.filter((from) => altitude >= from).length}`;
const metres = (altitude) => altitude === null || altitude === undefined ? "unknown" : `${Math.round(altitude).toLocaleString("en").replaceAll(",", "\u202f")} m`;

function ago(seconds) {
  if (seconds < 60) return `${Math.max(Math.round(seconds), 0)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

const utc = (seconds) => `${new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ")} UTC`;

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

// Lines of the world in Mercator's projection, 0 to 1 from west to east and from north to south.
function project(line, scale) {
  const found = { points: new Float64Array(line.length), west: 1, east: 0, north: 1, south: 0 };
  let along = 0, up = 0;
  for (let at = 0; at < line.length; at += 2) {
    along += line[at];
    up += line[at + 1];
    const latitude = Math.min(Math.max(up / scale, -85.06), 85.06) * Math.PI / 180;
    const x = along / scale / 360 + 0.5;
    const y = 0.5 - Math.log(Math.tan(Math.PI / 4 + latitude / 2)) / (2 * Math.PI);
    found.points[at] = x;
    found.points[at + 1] = y;
    found.west = Math.min(found.west, x);
    found.east = Math.max(found.east, x);
    found.north = Math.min(found.north, y);
    found.south = Math.max(found.south, y);
  }
  return found;
}

// Coast lines and borders, drawn where they are needed, at any zoom.
const World = L.GridLayer.extend({
  initialize(world, options) {
    L.GridLayer.prototype.initialize.call(this, options);
    this._land = world.land.map((line) => project(line, world.scale));
    this._borders = world.borders.map((line) => project(line, world.scale));
  },
  // Each in a turn of its own, so that a person can go on meanwhile.
  createTile(place, done) {
    const tile = document.createElement("canvas");
    setTimeout(() => { this.drawTile(tile, place); done(null, tile); });
    return tile;
  },
  drawTile(tile, { x, y, z }) {
    const size = this.getTileSize().x, ratio = Math.min(window.devicePixelRatio || 1, 2);
    tile.width = tile.height = size * ratio;
    const pen = tile.getContext("2d");
    const wide = size * 2 ** z, edge = 2 / wide, count = 2 ** z;
    const left = x / count, top = y / count, right = (x + 1) / count, bottom = (y + 1) / count;
    pen.scale(ratio, ratio);
    const trace = (lines, close) => {
      pen.beginPath();
      for (const { points, west, east, north, south } of lines) {
        if (east < left - edge || west > right + edge || south < top - edge || north > bottom + edge) continue;
        let lastAcross = Infinity, lastDown = Infinity;
        for (let at = 0; at < points.length; at += 2) {
          const across = (points[at] - left) * wide, down = (points[at + 1] - top) * wide;
          // What is less than a pixel away is not seen.
          if (Math.abs(across - lastAcross) < 0.8 && Math.abs(down - lastDown) < 0.8) continue;
          if (at) pen.lineTo(across, down); else pen.moveTo(across, down);
          lastAcross = across;
          lastDown = down;
        }
        if (close) pen.closePath();
      }
    };
    trace(this._land, true);
    pen.fillStyle = colour("land");
    pen.fill("evenodd");
    pen.strokeStyle = colour("coast");
    pen.lineWidth = 1;
    pen.stroke();
    trace(this._borders, false);
    pen.strokeStyle = colour("border");
    pen.stroke();
  },
});

// Tiles of a server. One that isn't needed any more is not loaded, without the image in a "data:"
// address that the library would put in its place: our policy lets none in.
const Tiles = L.TileLayer.extend({
  _abortLoading() {},
  _removeTile(key) {
    this._tiles[key]?.el.removeAttribute("src");
    L.GridLayer.prototype._removeTile.call(this, key);
  },
});

class Chart {
  constructor(place) {
    this.place = place;
    this.features = new Map();
    this.layers = new Map();
    this.cursor = null;
    this.looks = 0;
    this.isPlaced = false;
    this.centre = 0;
    place.replaceChildren();  // what it says without this file
    this.map = L.map(place, { renderer: L.canvas({ padding: 0.3 }), zoomControl: true, attributionControl: true, minZoom: 1, maxZoom: 17, zoomSnap: 0.5, wheelPxPerZoomLevel: 90 });
    this.map.attributionControl.setPrefix(false).addAttribution("Leaflet · Natural Earth");
    L.control.scale({ imperial: false }).addTo(this.map);
    this.map.setView([30, 0], 2);
    this.begin();
    dark.addEventListener("change", () => { this.world?.redraw(); this.drawAll(); });
  }

  async begin() {
    this.placeByAddress();
    const { world, tiles, attribution } = this.place.dataset;
    fetch(world).then((answer) => answer.json()).then((lines) => {
      this.world = new World(lines, { zIndex: 0, tileSize: 256, updateWhenZooming: false }).addTo(this.map);
    });
    if (tiles) new Tiles(tiles, { attribution, zIndex: 1, maxZoom: 17, referrerPolicy: "origin" }).addTo(this.map);
    await this.look();
  }

  // One look at what is new, and the next one later.
  async look() {
    let pause = AFTER_ERROR;
    try {
      if (!document.hidden || !this.cursor) pause = await this.ask();
      else pause = USUAL;
    } catch {
      document.body.classList.add("stale");
    }
    if ("live" in this.place.dataset || this.wasReading || pause === AFTER_ERROR) setTimeout(() => this.look(), pause);
  }

  async ask() {
    const address = new URL(this.place.dataset.map, location.href);
    if (this.looks++ % AGAIN === 0) this.cursor = null;
    if (this.cursor) address.searchParams.set("after", this.cursor);
    const answer = await fetch(address);
    if (answer.redirected || answer.status === 401) { location.reload(); return AFTER_ERROR; }
    const data = await answer.json();
    document.body.classList.toggle("stale", !answer.ok);
    if (!answer.ok) return AFTER_ERROR;
    // A server that was restarted sends everything: its cursor begins otherwise.
    if (!this.cursor || this.cursor.split(".")[0] !== data.cursor.split(".")[0]) this.clear();
    this.cursor = data.cursor;
    this.now = data.now;
    await this.take(data);
    if (data.features.length || data.reading || this.wasReading || this.looks % 4 === 0) await this.refreshTable();
    this.wasReading = Boolean(data.reading);
    return data.reading ? READING : USUAL;
  }

  clear() {
    for (const id of [...this.layers.keys()]) this.remove(id);
    this.features.clear();
  }

  remove(id) {
    this.layers.get(id)?.remove();
    this.layers.delete(id);
  }

  async take(data) {
    const present = new Set(data.payloads);
    for (const [id, { properties }] of this.features) {
      if (properties.kind !== "station" && !present.has(properties.payload)) {
        this.features.delete(id);
        this.remove(id);
      }
    }
    for (const feature of data.features) this.features.set(feature.id, feature);
    const kinds = (kind) => [...this.features.values()].filter(({ properties }) => properties.kind === kind);
    this.payloads = kinds("payload");
    if (!this.isPlaced) this.fit();
    const moved = new Set(data.features.map(({ id }) => id));
    for (const payload of this.payloads) {
      // Lines to its receivers change with their places.
      if (payload.properties.receivers.some((callsign) => moved.has(`station/${callsign}`))) moved.add(payload.id);
    }
    this.tell();
    let drawn = 0;
    for (const id of moved) {
      this.draw(this.features.get(id));
      if (++drawn % AT_ONCE === 0) await new Promise((next) => setTimeout(next));
    }
  }

  drawAll() {
    for (const feature of this.features.values()) this.draw(feature);
  }

  draw(feature) {
    const { kind } = feature.properties;
    const focused = this.layers.get(feature.id)?.mark?.getElement() === document.activeElement;
    const open = this.layers.get(feature.id)?.mark?.isPopupOpen();
    this.remove(feature.id);
    const layer = { track: () => this.track(feature), payload: () => this.payload(feature), station: () => this.station(feature), moment: () => this.moment(feature) }[kind]();
    this.layers.set(feature.id, layer.addTo(this.map));
    if (open) layer.mark.openPopup();
    if (focused) layer.mark.getElement().focus({ preventScroll: true });
  }

  at([longitude, latitude]) {
    return [latitude, near(longitude, this.centre)];
  }

  track({ geometry, properties }) {
    const payload = this.features.get(`payload/${properties.payload}`);
    let before = this.at(payload ? payload.geometry.coordinates : geometry.coordinates.at(-1).at(-1))[1];
    const whole = [], bands = new Map();
    for (const line of geometry.coordinates.toReversed()) {
      let run = null, last = null, lastBand = null;
      const path = [];
      for (const [longitude, latitude, altitude = null] of line.toReversed()) {
        before = near(longitude, before);
        const point = [latitude, before];
        path.push(point);
        if (last) {
          const here = band(altitude ?? last.altitude);
          if (here !== lastBand) {
            run = [last.point];
            if (!bands.has(here)) bands.set(here, []);
            bands.get(here).push(run);
            lastBand = here;
          }
          run.push(point);
        }
        last = { point, altitude };
      }
      whole.push(path);
    }
    const plain = { interactive: false, smoothFactor: 1, lineJoin: "round" };
    const layers = [];
    // An edge, so that each colour is seen on any ground; among many tracks it would be in the way.
    if (this.payloads.length <= NAMED) layers.push(L.polyline(whole, { ...plain, color: colour("casing"), weight: 5, opacity: 0.55 }));
    for (const [name, runs] of bands) layers.push(L.polyline(runs, { ...plain, color: colour(name), weight: 3, opacity: 1 }));
    return L.layerGroup(layers);
  }

  payload({ geometry, properties }) {
    const point = this.at(geometry.coordinates);
    const lines = [];
    for (const callsign of properties.receivers) {
      const station = this.features.get(`station/${callsign}`);
      if (!station) continue;
      const [longitude, latitude] = station.geometry.coordinates;
      lines.push(L.polyline([[latitude, near(longitude, point[1])], point], { interactive: false, color: colour("station"), weight: 1.5, opacity: 0.8, dashArray: "4 4" }));
    }
    const old = this.now - properties.time > OLD;
    const mark = this.mark(point, properties.name, old ? "old" : "", this.payloads.length <= NAMED, () => this.about(properties));
    mark.setZIndexOffset(1000);
    const group = L.layerGroup([...lines, mark]);
    group.mark = mark;
    return group;
  }

  moment({ geometry, properties }) {
    const mark = this.mark(this.at(geometry.coordinates), properties.name, "moment", true, () => {
      const [, , altitude] = geometry.coordinates;
      return element("div", "", element("h3", properties.name), element("dl", "", ...this.pairs([["Time", utc(properties.time)], ["Altitude", metres(altitude)]])));
    });
    const group = L.layerGroup([mark]);
    group.mark = mark;
    return group;
  }

  mark(point, name, kind, isNamed, content) {
    const html = element("div", "");
    html.className = `mark ${kind}`;
    const label = element("span", name);
    if (!isNamed) label.className = "hidden";
    html.append(label);
    const icon = L.divIcon({ html, className: "", iconSize: null, iconAnchor: kind === "moment" ? [5, 5] : [7, 10] });
    return L.marker(point, { icon, title: name, alt: name, riseOnHover: true }).bindPopup(content, { maxWidth: 260 });
  }

  station({ geometry, properties }) {
    const dot = L.circleMarker(this.at(geometry.coordinates), { radius: 5, color: colour("land"), weight: 1.5, fillColor: colour("station"), fillOpacity: 1 });
    dot.bindTooltip(properties.callsign);
    dot.bindPopup(() => {
      const link = element("a", properties.callsign);
      link.href = properties.page;
      return element("div", "", element("h3", "", link), element("div", "station"));
    });
    return dot;
  }

  about(properties) {
    const link = element("a", properties.name);
    link.href = properties.page;
    const rate = properties.ascent_rate;
    const rows = [["Altitude", metres(properties.altitude)]];
    if (rate !== null) rows.push([rate < 0 ? "Descends" : "Ascends", `${Math.abs(rate).toFixed(1)} m/s`]);
    rows.push(["Heard", ago(Date.now() / 1000 - this.lag - properties.time)]);
    rows.push(["Position", `${properties.latitude.toFixed(4)}, ${properties.longitude.toFixed(4)}`]);
    const more = properties.more_receivers ? ` and ${properties.more_receivers} more` : "";
    if (properties.receivers.length) rows.push(["Heard by", properties.receivers.join(", ") + more]);
    return element("div", "", element("h3", "", link), element("dl", "", ...this.pairs(rows)));
  }

  pairs(rows) {
    return rows.flatMap(([name, value]) => [element("dt", name), element("dd", value)]);
  }

  // How far this clock is ahead of the server's.
  get lag() {
    return this.asked ?? 0;
  }

  tell() {
    this.asked = Date.now() / 1000 - this.now;
  }

  // Show what there is, once.
  fit() {
    const last = this.payloads[0];
    if (!last) return;
    if (this.byAddress) { this.isPlaced = true; return; }
    this.centre = last.geometry.coordinates[0];
    const bounds = L.latLngBounds([]);
    for (const { geometry, properties } of this.features.values()) {
      if (properties.kind === "payload") bounds.extend(this.at(geometry.coordinates));
      if (properties.kind === "track") for (const line of geometry.coordinates) for (const point of line) bounds.extend(this.at(point));
    }
    for (const payload of this.payloads) {
      for (const callsign of payload.properties.receivers) {
        const station = this.features.get(`station/${callsign}`);
        if (station) bounds.extend(this.at(station.geometry.coordinates));
      }
    }
    this.map.fitBounds(bounds, { paddingTopLeft: [40, 30], paddingBottomRight: [100, 30], maxZoom: 11, animate: false });
    this.isPlaced = true;
  }

  // Where the map stands is behind the # of the address, so that it can be shared, too.
  placeByAddress() {
    const found = /^#(\d+(?:\.\d+)?)\/(-?\d+(?:\.\d+)?)\/(-?\d+(?:\.\d+)?)$/.exec(location.hash);
    if (found) {
      this.byAddress = true;
      this.centre = Number(found[3]);
      this.map.setView([Number(found[2]), Number(found[3])], Number(found[1]));
    }
    // Only what a person does: the map moves by itself when it is made and placed.
    const note = () => {
      const { lat, lng } = this.map.getCenter();
      history.replaceState(null, "", `#${this.map.getZoom()}/${lat.toFixed(4)}/${lng.toFixed(4)}`);
    };
    this.map.on("dragend", note);
    this.map.on("zoomend", () => { if (this.isPlaced) note(); });
  }

  // The table says the same as the map, and is made by the server.
  async refreshTable() {
    const table = document.getElementById("map-data");
    if (!table || table.querySelector("details[open]") || table.contains(document.activeElement)) return;
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("map-data");
    if (answer.ok && fresh) table.replaceChildren(...fresh.childNodes);
  }
}

for (const place of document.querySelectorAll("[data-map]")) new Chart(place);
// A page whose map is not known yet.
if (document.querySelector("[data-unread]")) setTimeout(() => location.reload(), 2000);
