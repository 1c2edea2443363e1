// Maps of embeddings: zoom by buttons and keys, pan by dragging, pick by pointer or arrow keys.
(() => {
  "use strict";
  const MOST = 16;

  for (const figure of document.querySelectorAll(".atlas")) {
    const svg = figure.querySelector("svg");
    const picked = figure.querySelector(".picked");
    const controls = figure.querySelector(".controls");
    const side = svg.viewBox.baseVal.width;
    const spots = [...svg.querySelectorAll(".spot")].map((node) => {
      const [x, y] = node.getAttribute("transform").match(/-?[\d.]+/g).map(Number);
      return { node, x, y, label: node.querySelector("title").textContent };
    });
    const view = { x: side / 2, y: side / 2, zoom: 1 };
    let current = null;
    let drag = null;

    const hint = picked.appendChild(document.createElement("span"));
    hint.className = "muted";
    hint.textContent = "Point at a picture, or use the arrow keys.";

    // The title is for pages without scripts; here the label stands beside the map.
    for (const spot of spots) spot.node.querySelector("title").textContent = "";

    const draw = () => {
      const span = side / view.zoom;
      const clamp = (value) => Math.min(Math.max(value, span / 2), side - span / 2);
      view.x = clamp(view.x);
      view.y = clamp(view.y);
      svg.setAttribute("viewBox", `${view.x - span / 2} ${view.y - span / 2} ${span} ${span}`);
      const pixel = span / (svg.clientWidth || side);
      const size = (svg.clientWidth < 500 ? 20 : 26) * Math.pow(view.zoom, 0.4);
      for (const { node, x, y } of spots) {
        const grown = node === current?.node ? 1.5 : 1;
        node.setAttribute("transform", `translate(${x} ${y}) scale(${(size * pixel * grown) / 26})`);
      }
      svg.style.touchAction = view.zoom > 1 ? "none" : "pan-y";
      controls.querySelector("[data-zoom=out]").disabled = view.zoom <= 1;
      controls.querySelector("[data-zoom=in]").disabled = view.zoom >= MOST;
    };

    const pick = (spot) => {
      if (spot === current) return;
      current?.node.classList.remove("chosen");
      current = spot;
      picked.replaceChildren();
      if (spot) {
        spot.node.classList.add("chosen");
        svg.append(spot.node);
        const image = spot.node.querySelector("image");
        if (image) {
          const large = document.createElement("img");
          large.src = image.getAttribute("href");
          large.alt = "";
          picked.append(large);
        }
        const label = document.createElement("b");
        label.textContent = spot.label;
        picked.append(label);
      }
      draw();
    };

    const zoom = (factor, at = current ?? view) => {
      view.zoom = factor ? Math.min(Math.max(view.zoom * factor, 1), MOST) : 1;
      [view.x, view.y] = [at.x, at.y];
      draw();
    };

    const go = (dx, dy) => {
      const from = current ?? view;
      let best = null;
      let least = Infinity;
      for (const spot of spots) {
        const ahead = (spot.x - from.x) * dx + (spot.y - from.y) * dy;
        const aside = Math.abs((spot.x - from.x) * dy) + Math.abs((spot.y - from.y) * dx);
        const cost = ahead + 2.5 * aside;
        if (spot !== current && ahead > 0 && cost < least) [best, least] = [spot, cost];
      }
      if (!best) return;
      const reach = (0.45 * side) / view.zoom;
      view.x = Math.min(Math.max(view.x, best.x - reach), best.x + reach);
      view.y = Math.min(Math.max(view.y, best.y - reach), best.y + reach);
      pick(best);
    };

    const place = (event) => {
      const box = svg.getBoundingClientRect();
      const span = side / view.zoom;
      return {
        x: view.x - span / 2 + ((event.clientX - box.left) / box.width) * span,
        y: view.y - span / 2 + ((event.clientY - box.top) / box.height) * span,
        pixel: span / box.width,
      };
    };

    const nearest = (event) => {
      const here = place(event);
      let best = null;
      let least = 28 * here.pixel;
      for (const spot of spots) {
        const far = Math.hypot(spot.x - here.x, spot.y - here.y);
        if (far < least) [best, least] = [spot, far];
      }
      return best;
    };

    svg.addEventListener("pointerdown", (event) => {
      drag = { x: event.clientX, y: event.clientY, from: { ...view } };
      pick(nearest(event) ?? current);
    });
    svg.addEventListener("pointermove", (event) => {
      if (drag && event.buttons && view.zoom > 1) {
        const { pixel } = place(event);
        view.x = drag.from.x - (event.clientX - drag.x) * pixel;
        view.y = drag.from.y - (event.clientY - drag.y) * pixel;
        svg.setPointerCapture(event.pointerId);
        draw();
      } else {
        pick(nearest(event) ?? current);
      }
    });
    svg.addEventListener("pointerup", () => (drag = null));
    svg.addEventListener("pointercancel", () => (drag = null));
    svg.addEventListener("dblclick", (event) => zoom(2, place(event)));
    svg.addEventListener("keydown", (event) => {
      const moves = {
        ArrowLeft: [-1, 0],
        ArrowRight: [1, 0],
        ArrowUp: [0, -1],
        ArrowDown: [0, 1],
      };
      const zooms = { "+": 1.6, "=": 1.6, "-": 1 / 1.6, 0: 0 };
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (moves[event.key]) go(...moves[event.key]);
      else if (event.key in zooms) zoom(zooms[event.key]);
      else if (event.key === "Escape") pick(null);
      else return;
      event.preventDefault();
    });
    controls.addEventListener("click", (event) => {
      const way = event.target.dataset.zoom;
      if (way) zoom({ in: 1.6, out: 1 / 1.6, whole: 0 }[way]);
    });
    controls.querySelector("input").addEventListener("input", (event) => {
      const wanted = event.target.value.trim().toLowerCase();
      let found = 0;
      for (const { node, label } of spots) {
        const fits = wanted && label.toLowerCase().includes(wanted);
        found += fits ? 1 : 0;
        node.classList.toggle("dim", Boolean(wanted) && !fits);
        if (fits) svg.append(node);
      }
      controls.querySelector("[role=status]").textContent = wanted ? `${found} found` : "";
    });
    new ResizeObserver(draw).observe(svg);
    controls.hidden = false;
    draw();
  }
})();
