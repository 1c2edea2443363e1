// Readings of the charts: under the pointer, under a finger, or by the arrow keys.
(() => {
  "use strict";
  const reading = document.getElementById("reading");
  const NS = "http://www.w3.org/2000/svg";

  for (const svg of document.querySelectorAll("svg[data-chart]")) {
    const data = JSON.parse(svg.dataset.chart);
    // Lines of several runs have points at different steps: the cursor stops at each of them.
    const stops = new Map();
    for (const line of data.lines) for (const point of line.points) stops.set(point[0], point[2]);
    const xs = [...stops.keys()].sort((a, b) => a - b);
    const layer = svg.appendChild(document.createElementNS(NS, "g"));
    let at = xs.length - 1;

    const hide = () => {
      layer.replaceChildren();
      reading.hidden = true;
    };

    const show = (index) => {
      at = Math.min(Math.max(index, 0), xs.length - 1);
      const x = xs[at];
      layer.replaceChildren();
      const cursor = layer.appendChild(document.createElementNS(NS, "line"));
      cursor.setAttribute("class", "cursor");
      for (const [name, value] of [["x1", x], ["x2", x], ["y1", data.top], ["y2", data.bottom]]) {
        cursor.setAttribute(name, value);
      }
      reading.replaceChildren();
      reading.append(`${data.axis} ${stops.get(x)}`);
      for (const line of data.lines) {
        const point = line.points.find((p) => p[0] === x);
        if (!point) continue;
        const dot = layer.appendChild(document.createElementNS(NS, "circle"));
        dot.setAttribute("class", "halo " + line.tone);
        dot.setAttribute("cx", point[0]);
        dot.setAttribute("cy", point[1]);
        dot.setAttribute("r", 4);
        const value = document.createElement("b");
        value.textContent = point[3];
        const label = document.createElement("i");
        label.textContent = data.lines.length > 1 ? " " + line.label : "";
        reading.append(document.createElement("br"), value, label);
      }
      reading.hidden = false;
      const box = svg.getBoundingClientRect();
      const scale = box.width / svg.viewBox.baseVal.width;
      const left = box.left + x * scale + 12;
      const fits = left + reading.offsetWidth < document.documentElement.clientWidth - 8;
      reading.style.left =
        window.scrollX + (fits ? left : left - 24 - reading.offsetWidth) + "px";
      reading.style.top = window.scrollY + box.top + data.top * scale + "px";
    };

    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) * svg.viewBox.baseVal.width) / box.width;
      let nearest = 0;
      xs.forEach((stop, index) => {
        if (Math.abs(stop - x) < Math.abs(xs[nearest] - x)) nearest = index;
      });
      show(nearest);
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("focus", () => svg.matches(":focus-visible") && show(at));
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
      if (move !== undefined) {
        event.preventDefault();
        show(at + move);
      } else if (event.key === "Escape") {
        hide();
      }
    });
  }
})();
