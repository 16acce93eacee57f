"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  if (!byId("files")) return;

  // Names reach the document as text nodes and attributes alone, never as markup.
  function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }
  const html = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes = {}, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

  const fixed = (value, digits = 2) => (value === null ? "\u2013" : value.toFixed(digits).replace("-", "\u2212"));
  const range = (ends) => (ends === null || ends[0] === null ? "\u2013" : `${fixed(ends[0])} to ${fixed(ends[1])}`);
  const [lowest, highest] = data.scale;

  // ---- Cells
  function intervalBar(value, low, high, from = lowest, to = highest) {
    const x = (score) => 4 + (112 * (score - from)) / (to - from);
    const picture = svg("svg", { class: "bar", viewBox: "0 0 120 16", "aria-hidden": "true" });
    picture.append(svg("path", { class: "grid", d: "M4 8H116M4 4V12M116 4V12" }));
    if (low !== null && high !== null) {
      picture.append(svg("path", { class: "interval", d: `M${x(low).toFixed(1)} 8H${x(high).toFixed(1)}` }));
    }
    picture.append(svg("circle", { cx: x(value).toFixed(1), cy: 8, r: 3 }));
    return picture;
  }
  const text = (value) => (row) => html("bdi", {}, value(row));
  const number = (title, value, digits = 2) =>
    ({ title, value, numeric: true, cell: (row) => fixed(value(row), digits) });

  // ---- Tables that are sorted by pressing a heading
  function sortedTable(table, columns, sort, draw) {
    const head = html("tr");
    const heads = columns.map((column) => {
      const cell = html("th", { scope: "col", class: column.numeric ? "number" : "" });
      if (column.value) {
        const button = html("button", { type: "button" }, column.title);
        button.addEventListener("click", () => {
          const again = sort.column === column;
          sort.descending = again ? !sort.descending : Boolean(column.descendingFirst);
          sort.column = column;
          mark();
          draw();
        });
        cell.append(button);
      } else {
        cell.append(column.title);
      }
      head.append(cell);
      return cell;
    });
    function mark() {
      columns.forEach((column, index) => {
        if (column !== sort.column) heads[index].removeAttribute("aria-sort");
        else heads[index].setAttribute("aria-sort", sort.descending ? "descending" : "ascending");
      });
    }
    const body = html("tbody");
    table.append(html("thead", {}, head), body);
    mark();
    return body;
  }
  const collator = new Intl.Collator(undefined, { numeric: true });
  function inOrder(rows, sort) {
    const sign = sort.descending ? -1 : 1;
    const keyed = rows.map((row) => [sort.column.value(row), row]);
    keyed.sort(([first], [second]) => {
      // Missing values stay last, whatever the direction.
      if (first === null || second === null) return (first === null) - (second === null);
      return sign * (sort.column.numeric ? first - second : collator.compare(first, second));
    });
    return keyed.map(([, row]) => row);
  }
  const rowOf = (columns, row) =>
    html("tr", {}, ...columns.map((column) =>
      html("td", { class: column.numeric ? "number" : column.class || "" }, column.cell(row))));

  // ---- Groups
  function drawGroups() {
    if (data.groups.length < 2) {
      byId("groups-section").hidden = true;
      byId("filter-group-field").hidden = true;
      return;
    }
    for (const group of data.groups) byId("filter-group").append(html("option", { value: group.name }, group.name));
    const name = {
      title: "Group", class: "name", value: (group) => group.name,
      cell: (group) => {
        const button = html("button", { type: "button", class: "link", title: "Filter the files by this group" });
        button.append(html("bdi", {}, group.name));
        button.addEventListener("click", () => { byId("filter-group").value = group.name; refresh(); });
        return button;
      },
    };
    const difference = {
      title: "Difference to the best", value: (group) => group.difference, numeric: true,
      cell: (group) => {
        if (group === data.groups[0]) return "best";
        const ends = group.differenceInterval;
        if (ends === null) return fixed(group.difference);
        const chance = ends[0] <= 0 && ends[1] >= 0;
        const label = `${fixed(group.difference)} (${range(ends)}${group.paired ? ", paired" : ""})`;
        return html("span", { class: chance ? "chance" : "" }, label + (chance ? " may be chance" : ""));
      },
    };
    const mean = number("Mean MOS", (group) => group.mean);
    const ends = (group) => group.interval || [group.mean, group.mean];
    // Wide enough for all intervals: differences between groups are small on the whole scale.
    const from = Math.floor(Math.min(...data.groups.map((group) => ends(group)[0])));
    const to = Math.max(from + 1, Math.ceil(Math.max(...data.groups.map((group) => ends(group)[1]))));
    const columns = [
      name, number("Files", (group) => group.size, 0), mean,
      { title: "Interval", numeric: true, cell: (group) => range(group.interval) },
      { title: `${fixed(from, 0)} to ${fixed(to, 0)}`, cell: (group) => intervalBar(group.mean, ...ends(group), from, to) },
      number("Median", (group) => group.median), number("Lowest", (group) => group.lowest), difference,
    ];
    const sort = { column: mean, descending: true };
    const draw = () => body.replaceChildren(...inOrder(data.groups, sort).map((group) => rowOf(columns, group)));
    const body = sortedTable(byId("groups"), columns, sort, draw);
    draw();
  }

  // ---- Distribution
  const binWidth = (highest - lowest) / 16;
  const binOf = (score) => Math.min(15, Math.max(0, Math.floor((score - lowest) / binWidth)));
  function countBins(files) {
    const counts = new Array(16).fill(0);
    for (const file of files) counts[binOf(file.scores[0][0])] += 1;
    return counts;
  }
  const allCounts = countBins(data.files);
  let pressed = null; // The bar whose files are shown: a score at an edge is in one bar alone.
  function drawDistribution(files) {
    const counts = countBins(files), most = Math.max(1, ...allCounts);
    const edges = (bin) => [lowest + bin * binWidth, lowest + (bin + 1) * binWidth];
    const y = (count) => 160 - (140 * count) / most;
    const bars = counts.map((count, bin) => {
      const x = 44 + bin * 36, [from, to] = edges(bin);
      const press = svg("rect", { class: "press", x, y: 14, width: 36, height: 146 });
      const some = count === allCounts[bin] ? `${count}` : `${count} of ${allCounts[bin]}`;
      press.append(svg("title", {}, `MOS ${fixed(from)} to ${fixed(to)}: ${some} files`));
      press.addEventListener("click", () => {
        byId("filter-low").value = from.toFixed(2);
        byId("filter-high").value = to.toFixed(2);
        pressed = bin;
        refresh();
      });
      const bar = (kind, height) =>
        svg("rect", { class: kind, x: x + 2, y: y(height).toFixed(1), width: 32, height: (160 - y(height)).toFixed(1) });
      return [bar("all", allCounts[bin]), bar("chosen", count), press];
    });
    const spoken = counts.map((count, bin) => `${edges(bin).map((edge) => fixed(edge)).join(" to ")}: ${count}`);
    const picture = svg("svg", {
      viewBox: "0 0 640 200", role: "img", "aria-label": `Files by MOS. ${spoken.join("; ")}`,
    });
    picture.append(svg("path", { class: "axis", d: "M44 160H620" }), ...bars.flat());
    for (let tick = 0; tick <= 4; tick += 1) {
      const label = fixed(lowest + (tick * (highest - lowest)) / 4, 1);
      picture.append(svg("text", { x: 44 + tick * 144, y: 180, "text-anchor": "middle" }, label));
    }
    picture.append(svg("text", { x: 640, y: 197, "text-anchor": "end" }, "MOS"));
    picture.append(svg("text", { x: 38, y: 26, "text-anchor": "end" }, String(most)));
    picture.append(svg("text", { x: 38, y: 164, "text-anchor": "end" }, "0"));
    byId("distribution").replaceChildren(picture);
  }

  // ---- Files
  const PAGE = 200;
  let limit = PAGE;
  const fileColumns = [
    { title: "File", class: "name", value: (file) => file.name, cell: text((file) => file.name) },
    ...(data.groups.length > 1
      ? [{ title: "Group", value: (file) => file.group, cell: text((file) => file.group) }] : []),
    ...data.outputs.flatMap((output, index) => [
      number(output === "mos" ? "MOS" : output, (file) => file.scores[index][0]),
      { title: "Interval", numeric: true, cell: (file) => range(file.scores[index].slice(1)) },
      ...(index ? [] : [{
        title: `${fixed(lowest, 0)} to ${fixed(highest, 0)}`, cell: (file) => intervalBar(...file.scores[0]),
      }]),
    ]),
    number("Seconds", (file) => file.duration, 1),
    ...data.columns.map((title, index) => {
      // A column of numbers if every cell is one or empty: Number makes 0 of the empty ones.
      const numeric = data.files.every((file) => Number.isFinite(Number(file.metadata[index])));
      const key = (cell) => (cell.trim() === "" ? null : numeric ? Number(cell) : cell);
      return { title, numeric, value: (file) => key(file.metadata[index]), cell: text((file) => file.metadata[index]) };
    }),
    {
      title: "Player",
      cell: (file) => file.player === null ? ""
        : html("a", { href: `#player-${file.player}`, "aria-label": `Go to the player of ${file.name}` }, "hear"),
    },
  ];
  const fileSort = { column: fileColumns.find((column) => column.title === "MOS"), descending: false };
  // Accented letters have two forms in Unicode: keyboards type one, names of files on a Mac may hold the other.
  const folded = (words) => words.normalize("NFC").toLowerCase();
  const haystacks = new Map(data.files.map((file) =>
    [file, folded([file.name, file.group, ...file.metadata].join("\n"))]));
  const rows = new Map();
  const fileRow = (file) => {
    if (!rows.has(file)) rows.set(file, rowOf(fileColumns, file));
    return rows.get(file);
  };
  let chosen = data.files;
  const fileBody = sortedTable(byId("files"), fileColumns, fileSort, () => drawFiles());
  function drawFiles() {
    const ordered = inOrder(chosen, fileSort);
    fileBody.replaceChildren(...ordered.slice(0, limit).map(fileRow));
    const left = ordered.length - limit;
    byId("more").hidden = left <= 0;
    byId("more").textContent = `Show ${Math.min(left, 5 * PAGE)} more of ${left}`;
  }
  byId("more").addEventListener("click", () => { limit += 5 * PAGE; drawFiles(); });
  window.addEventListener("beforeprint", () => { limit = Infinity; drawFiles(); });

  // ---- Filters
  function bound(id, otherwise) {
    const value = byId(id).valueAsNumber;
    return Number.isNaN(value) ? otherwise : value;
  }
  function refresh() {
    const words = folded(byId("filter-text").value).split(/\s+/).filter(Boolean);
    const group = byId("filter-group").value;
    const low = bound("filter-low", -Infinity), high = bound("filter-high", Infinity);
    chosen = data.files.filter((file) => {
      const score = file.scores[0][0], haystack = haystacks.get(file);
      const inside = pressed === null ? score >= low && score <= high : binOf(score) === pressed;
      return (!group || file.group === group) && inside
        && words.every((word) => haystack.includes(word));
    });
    limit = PAGE;
    const players = new Set(chosen.map((file) => file.player));
    for (const section of document.querySelectorAll(".players")) {
      let some = false;
      for (const article of section.querySelectorAll("article")) {
        article.hidden = !players.has(Number(article.dataset.player));
        some = some || !article.hidden;
        if (article.hidden) article.querySelector("audio")?.pause();
      }
      section.querySelector(".none").hidden = some;
    }
    drawDistribution(chosen);
    drawFiles();
    const mean = chosen.reduce((sum, file) => sum + file.scores[0][0], 0) / chosen.length;
    byId("filter-count").textContent =
      `${chosen.length} of ${data.files.length} files` + (chosen.length ? `, mean MOS ${fixed(mean)}` : "");
  }
  byId("filters").addEventListener("input", (event) => {
    if (["filter-low", "filter-high"].includes(event.target.id)) pressed = null;
    refresh();
  });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filter-clear").addEventListener("click", () => {
    pressed = null;
    byId("filters").reset();
    refresh();
  });

  // ---- Players: one at a time, with a cursor in the pictures that can be pressed to seek
  const LEFT = 68, WIDTH = 564, VIEW = 640; // As the pictures are drawn.
  for (const article of document.querySelectorAll("article")) {
    const audio = article.querySelector("audio"), clip = article.querySelector("svg.clip");
    if (!audio) continue;
    const cursor = svg("path", { class: "cursor", d: "" });
    clip.append(cursor);
    const move = () => {
      if (!audio.duration) return;
      const x = LEFT + (WIDTH * audio.currentTime) / audio.duration;
      cursor.setAttribute("d", `M${x.toFixed(1)} 0V146`);
      if (!audio.paused) requestAnimationFrame(move);
    };
    audio.addEventListener("play", () => {
      for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
      move();
    });
    audio.addEventListener("seeked", move);
    clip.addEventListener("click", (event) => {
      const box = clip.getBoundingClientRect();
      const share = ((event.clientX - box.left) / box.width * VIEW - LEFT) / WIDTH;
      const seek = () => { audio.currentTime = Math.min(1, Math.max(0, share)) * audio.duration; };
      if (audio.duration) seek();
      else audio.addEventListener("loadedmetadata", seek, { once: true });
      audio.play();
    });
  }

  byId("filter-low").placeholder = fixed(lowest, 1);
  byId("filter-high").placeholder = fixed(highest, 1);
  drawGroups();
  refresh();
})();
