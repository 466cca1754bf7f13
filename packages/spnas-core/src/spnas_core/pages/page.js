(() => {
  "use strict";
  const page = document.documentElement;
  const points = JSON.parse(document.getElementById("points").textContent);
  const marked = [...document.querySelectorAll("[data-key]")];

  // What is kept over a reload; a browser may forbid storage to files.
  const kept = {
    get(name) { try { return sessionStorage.getItem(location.pathname + name); } catch { return null; } },
    set(name, value) { try { sessionStorage.setItem(location.pathname + name, value); } catch { /* forgotten */ } },
  };

  // Light and dark: the system's until the button is pressed.
  const theme = document.getElementById("theme");
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (page.dataset.theme ? page.dataset.theme === "dark" : prefersDark.matches);
  const nameTheme = () => {
    theme.textContent = isDark() ? "light" : "dark";
    theme.setAttribute("aria-label", `${theme.textContent} colours`);
  };
  if (kept.get("theme")) page.dataset.theme = kept.get("theme");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    page.dataset.theme = isDark() ? "light" : "dark";
    kept.set("theme", page.dataset.theme);
    nameTheme();
  });
  prefersDark.addEventListener("change", nameTheme);
  nameTheme();

  // The filter: every word must be there, and none that a dash stands before.
  const form = document.getElementById("filter");
  if (form) {
    const words = document.getElementById("words");
    const count = document.getElementById("count");
    const texts = Object.entries(points).map(([key, lines]) => [key, lines.join(" ").toLowerCase()]);
    const apply = () => {
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      const fits = (text) => wanted.every((word) =>
        word.length > 1 && word.startsWith("-") ? !text.includes(word.slice(1)) : text.includes(word));
      const found = new Set(texts.filter(([, text]) => fits(text)).map(([key]) => key));
      for (const one of marked) one.classList.toggle("off", wanted.length > 0 && !found.has(one.dataset.key));
      count.textContent = wanted.length ? `${found.size} of ${texts.length}` : "";
      for (const button of form.querySelectorAll("button")) {
        button.setAttribute("aria-pressed", String(button.dataset.words === words.value));
      }
      kept.set("filter", words.value);
    };
    const named = location.hash.startsWith("#filter=") ? decodeURIComponent(location.hash.slice(8)) : null;
    words.value = named ?? kept.get("filter") ?? "";
    words.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("click", (event) => {
      if (event.target.dataset.words === undefined) return;
      words.value = words.value === event.target.dataset.words ? "" : event.target.dataset.words;
      apply();
    });
    form.hidden = false;
    apply();
  }

  // What is known of the point nearest to the pointer, here and wherever else it stands.
  const tip = document.getElementById("tip");
  const reach = 26;
  let hot = "";
  const show = (key, x, y) => {
    if (key !== hot) {
      for (const one of marked) one.classList.toggle("hot", one.dataset.key === key);
      tip.replaceChildren(...(points[key] ?? []).map((line) => {
        const part = document.createElement("div");
        part.textContent = line;
        return part;
      }));
      hot = key;
    }
    tip.hidden = !key;
    if (!key) return;
    const box = tip.getBoundingClientRect();
    const left = x + 14 + box.width > page.clientWidth ? x - 14 - box.width : x + 14;
    tip.style.left = `${Math.max(4, Math.min(left, page.clientWidth - box.width - 4))}px`;
    tip.style.top = `${y + 18 + box.height > innerHeight ? y - 14 - box.height : y + 18}px`;
  };
  for (const chart of document.querySelectorAll("svg.chart")) {
    const dots = [...chart.querySelectorAll("circle[data-key]")]
      .map((one) => [one, one.cx.baseVal.value, one.cy.baseVal.value]);
    if (!dots.length) continue;
    const near = (event) => {
      const matrix = chart.getScreenCTM();
      const x = (event.clientX - matrix.e) / matrix.a;
      const y = (event.clientY - matrix.f) / matrix.d;
      let best = "";
      let least = (reach / matrix.a) ** 2;
      for (const [one, cx, cy] of dots) {
        const distance = (cx - x) ** 2 + (cy - y) ** 2;
        if (distance <= least && !one.classList.contains("off") && points[one.dataset.key]) {
          [best, least] = [one.dataset.key, distance];
        }
      }
      show(best, event.clientX, event.clientY);
    };
    chart.addEventListener("pointermove", near);
    chart.addEventListener("pointerdown", near);
    chart.addEventListener("pointerleave", () => show("", 0, 0));

    // By keys: from point to point, as they stand from left to right.
    dots.sort(([, one], [, other]) => one - other);
    chart.setAttribute("tabindex", "0");
    chart.setAttribute("role", "application");
    chart.setAttribute("aria-label", `${chart.getAttribute("aria-label")}; arrow keys lead from point to point`);
    let place = -1;
    chart.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") show("", 0, 0);
      if (!step) return;
      event.preventDefault();
      const there = dots.filter(([one]) => !one.classList.contains("off") && points[one.dataset.key]);
      if (!there.length) return;
      const at = there.indexOf(dots[place]);
      const [one] = there[at < 0 ? 0 : Math.max(0, Math.min(there.length - 1, at + step))];
      place = dots.findIndex(([other]) => other === one);
      const box = one.getBoundingClientRect();
      show(one.dataset.key, box.x + box.width / 2, box.y + box.height / 2);
    });
    chart.addEventListener("blur", () => show("", 0, 0));
  }

  // Tables have the names of their sections; what is wider than the page scrolls, and keys must reach it.
  const titleOf = (one) => one.closest("section")?.querySelector("h2")?.textContent ?? "";
  for (const table of document.querySelectorAll("table")) table.setAttribute("aria-label", titleOf(table));
  const frames = [...document.querySelectorAll(".wide, pre")];
  const nameFrames = () => {
    const scrolls = frames.map((frame) => frame.scrollWidth > frame.clientWidth);
    frames.forEach((frame, place) => {
      for (const [name, value] of [["tabindex", "0"], ["role", "region"], ["aria-label", titleOf(frame)]]) {
        if (scrolls[place]) frame.setAttribute(name, value);
        else frame.removeAttribute(name);
      }
    });
  };
  addEventListener("resize", nameFrames);
  document.addEventListener("toggle", nameFrames, true);
  nameFrames();

  const folds = [...document.querySelectorAll("details")];

  // On paper nothing is folded; page.css says so, too, to the browsers that know how.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = folds.filter((one) => !one.open);
    for (const one of closed) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of closed) one.open = false; });

  // A page that is rewritten while a search goes on loads itself anew, and stays where it was.
  if (page.dataset.reload) {
    const before = JSON.parse(kept.get("place") ?? "null");
    if (before) {
      folds.forEach((one, place) => { one.open = before.open[place] ?? one.open; });
      scrollTo(0, before.y);
    }
    addEventListener("pagehide", () => {
      kept.set("place", JSON.stringify({ y: scrollY, open: folds.map((one) => one.open) }));
    });
    setInterval(() => {
      if (!document.hidden && document.activeElement?.id !== "words") location.reload();
    }, 1000 * Number(page.dataset.reload));
  }
})();
