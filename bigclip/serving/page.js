"use strict";
// The demo's page. Names of pictures and labels come from files: they are put in as text, never as
// markup. The address says what is shown (?q=TEXT or ?like=NUMBER), except for one's own pictures,
// which stay in this tab.
(() => {
  const $ = (id) => document.getElementById(id);
  const COUNT = 24, SHOWN_LABELS = 8, TYPING_MS = 300;
  const numbers = new Intl.NumberFormat("en");
  const uploads = []; // files that were dropped here, by the number in history.state
  let about = null;
  let asked = null; // what is shown: {kind: "text", text} | {kind: "like", picture} | {kind: "upload", upload}
  let running = null; // AbortController of the question under way
  let found = 0;

  // The address and what it stands for.

  const fromAddress = () => {
    const query = new URLSearchParams(location.search);
    const upload = history.state && history.state.upload;
    if (upload !== undefined && upload !== null && uploads[upload]) return { kind: "upload", upload };
    if (/^\d{1,9}$/.test(query.get("like") || "")) return { kind: "like", picture: Number(query.get("like")) };
    return { kind: "text", text: (query.get("q") || "").trim() };
  };

  const address = (question) => {
    if (question.kind === "like") return "/?like=" + question.picture;
    if (question.kind === "text" && question.text) return "/?" + new URLSearchParams({ q: question.text });
    return "/";
  };

  const go = (question, { replace = false, focus = false } = {}) => {
    const state = question.kind === "upload" ? { upload: question.upload } : {};
    history[replace ? "replaceState" : "pushState"](state, "", address(question));
    show(question, { focus });
  };

  // Asking the server.

  const ask = async (path, options = {}) => {
    let response;
    try {
      response = await fetch(path, options);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The server does not answer. Is the demo still running?");
    }
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) throw new Error(sentence(answer.error || "The server answers " + response.status + "."));
    return answer;
  };

  const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

  const base64 = (file) =>
    new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
      reader.onerror = () => reject(new Error("This file cannot be read."));
      reader.readAsDataURL(file);
    });

  const lines = (id) => $(id).value.split("\n").map((line) => line.trim()).filter(Boolean);

  const look = async (question, start, signal) => {
    const body = { labels: lines("names"), templates: lines("templates"), start, count: COUNT };
    if (question.kind === "like") body.picture = question.picture;
    else body.image = await base64(uploads[question.upload]);
    return ask("/api/look", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal,
    });
  };

  const answerTo = (question, start, signal) =>
    question.kind === "text"
      ? ask("/api/search?" + new URLSearchParams({ q: question.text, start, count: COUNT }), { signal })
      : look(question, start, signal);

  // Showing.

  const tell = (message) => {
    $("problem").textContent = message || "";
    $("problem").hidden = !message;
  };

  const show = async (question, { focus = false, more = false } = {}) => {
    if (running) running.abort();
    const mine = (running = new AbortController());
    const start = more ? found : 0;
    $("hits").setAttribute("aria-busy", "true");
    try {
      const answer = await answerTo(question, start, mine.signal);
      if (mine !== running) return;
      tell();
      asked = question;
      if (!more) {
        $("hits").replaceChildren();
        title(question, answer);
        subject(question, answer);
      }
      const first = hits(answer.hits);
      found = start + answer.hits.length;
      $("more").hidden = found >= answer.total || !answer.hits.length;
      $("status").textContent = found
        ? numbers.format(found) + " of " + numbers.format(answer.total) + ", " + Math.ceil(answer.milliseconds) + " ms"
        : "";
      if (more && first) first.focus();
      if (focus) ($("subject").hidden ? $("results-title") : $("subject-title")).focus({ preventScroll: true });
      if (focus && !$("subject").hidden) $("subject").scrollIntoView({ block: "nearest" });
    } catch (error) {
      if (mine === running && error.name !== "AbortError") tell(error.message);
    } finally {
      if (mine === running) $("hits").removeAttribute("aria-busy");
    }
  };

  const title = (question, answer) => {
    const text = question.kind === "text" ? question.text : "";
    $("results-title").textContent = text ? "“" + text + "”"
      : question.kind === "text" ? (answer.hits.length < answer.total ? "Some of the pictures" : "The pictures")
      : answer.hits.length ? "Similar pictures" : "";
    document.title = (text || (answer.subject && answer.subject.name) || about.model) + " – bigclip demo";
    if (document.activeElement !== $("q")) $("q").value = text;
  };

  // Photographs fill their square; icons are shown whole, on white and with a margin.
  const photoOrIcon = ({ target }) =>
    target.classList.toggle("photo", Math.min(target.naturalWidth, target.naturalHeight) >= 180);
  $("preview").addEventListener("load", photoOrIcon);

  const hits = (list) => {
    const buttons = list.map((hit) => {
      const item = document.createElement("li");
      const button = item.appendChild(document.createElement("button"));
      button.type = "button";
      button.dataset.picture = hit.picture;
      const image = button.appendChild(document.createElement("img"));
      image.loading = "lazy";
      image.draggable = false;
      image.width = image.height = 160;
      image.alt = "";
      image.addEventListener("load", photoOrIcon);
      image.src = "/thumbnails/" + hit.picture;
      const under = button.appendChild(document.createElement("span"));
      under.className = "under";
      const name = under.appendChild(document.createElement("span"));
      name.className = "name";
      name.textContent = button.title = hit.name;
      if (hit.score !== null) {
        const score = under.appendChild(document.createElement("span"));
        score.className = "score";
        score.textContent = hit.score.toFixed(about.cosine ? 2 : 1).replace(/^-(?=[0.]+$)/, "").replace("-", "−");
        score.setAttribute("aria-label", (about.cosine ? "cosine " : "score ") + score.textContent);
        score.title = about.cosine ? "cosine of the two embeddings" : "the model's score";
      }
      $("hits").append(item);
      return button;
    });
    return buttons[0];
  };

  const subject = (question, answer) => {
    $("subject").hidden = question.kind === "text";
    if (question.kind === "text") return;
    const own = question.kind === "upload";
    const name = own ? uploads[question.upload].name || "your picture" : answer.subject.name;
    if (own) uploads[question.upload].url ??= URL.createObjectURL(uploads[question.upload]);
    const source = own ? uploads[question.upload].url : "/pictures/" + question.picture;
    $("preview").src = $("frame").href = source;
    $("preview").alt = name;
    $("subject-title").textContent = name;
    $("labels").replaceChildren(...answer.labels.slice(0, SHOWN_LABELS).map(label));
    const rest = answer.labels.length - SHOWN_LABELS;
    $("meaning").textContent = (about.independent ? "How probable the model takes each match to be"
      : "Shares among " + numbers.format(answer.labels.length) + " labels")
      + (rest > 0 ? "; the best " + SHOWN_LABELS + " are shown." : ".");
  };

  const label = ({ label: text, share }) => {
    const item = document.createElement("li");
    for (const part of ["name", "track", "share"]) {
      item.appendChild(document.createElement("span")).className = part;
    }
    const [name, track, percent] = item.children;
    name.textContent = text;
    const fill = track.appendChild(document.createElement("span"));
    fill.className = "fill";
    fill.style.width = 100 * share + "%";
    percent.textContent = share > 0 && share < 0.001 ? "< 0.1%" : (100 * share).toFixed(1) + "%";
    return item;
  };

  // One's own picture: chosen, dropped or pasted.

  const upload = (file) => {
    if (!file) return;
    if (file.size > about.upload_bytes) {
      tell("This file is too large: at most " + (about.upload_bytes >> 20) + " MiB.");
      return;
    }
    go({ kind: "upload", upload: uploads.push(file) - 1 }, { focus: true });
  };

  const dragsFiles = (event) => event.dataTransfer && [...event.dataTransfer.types].includes("Files");
  let depth = 0; // dragenter and dragleave come for every element on the way

  addEventListener("dragenter", (event) => {
    if (!dragsFiles(event)) return;
    depth += 1;
    $("dropping").hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (dragsFiles(event) && --depth <= 0) $("dropping").hidden = true;
  });
  addEventListener("dragover", (event) => dragsFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!dragsFiles(event)) return;
    event.preventDefault();
    depth = 0;
    $("dropping").hidden = true;
    upload(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => {
    const file = event.clipboardData && event.clipboardData.files[0];
    if (file) {
      event.preventDefault();
      upload(file);
    }
  });
  $("choose").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => {
    upload($("file").files[0]);
    $("file").value = ""; // the same file may be chosen again
  });

  // Texts.

  // What shows up while one types is provisional: the next text takes its place in the history.
  const search = (question) => {
    const same = address(question) === location.pathname + location.search;
    go(question, { replace: same || (asked && asked.typed) });
  };

  let typing = null;
  $("q").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      const text = $("q").value.trim();
      if (!asked || asked.kind !== "text" || asked.text !== text) search({ kind: "text", text, typed: true });
    }, TYPING_MS);
  });
  $("search").addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typing);
    search({ kind: "text", text: $("q").value.trim() });
  });

  // Labels.

  const setLabels = (labels, templates) => {
    $("names").value = labels.join("\n");
    $("templates").value = templates.join("\n");
    countLabels();
  };
  const countLabels = () => {
    $("how-many").textContent = "(" + numbers.format(lines("names").length) + ")";
  };
  $("names").addEventListener("input", countLabels);
  $("list").addEventListener("submit", (event) => {
    event.preventDefault();
    if (asked && asked.kind !== "text") show(asked);
  });
  $("reset").addEventListener("click", () => {
    setLabels(about.labels, about.templates);
    if (asked && asked.kind !== "text") show(asked);
  });

  // Pictures that were found, and keys.

  $("hits").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) go({ kind: "like", picture: Number(button.dataset.picture) }, { focus: true });
  });
  $("hits").addEventListener("keydown", (event) => {
    const buttons = [...$("hits").querySelectorAll("button")];
    const at = buttons.indexOf(document.activeElement);
    const columns = getComputedStyle($("hits")).gridTemplateColumns.split(" ").length;
    const move = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (move && buttons[at + move]) {
      event.preventDefault();
      buttons[at + move].focus();
    }
  });
  $("more").addEventListener("click", () => show(asked, { more: true }));

  const close = () => {
    go({ kind: "text", text: $("q").value.trim() });
    $("q").focus();
  };
  $("close").addEventListener("click", close);
  addEventListener("keydown", (event) => {
    const writing = event.target.closest && event.target.closest("input, textarea");
    if (event.key === "/" && !writing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      $("q").focus();
      $("q").select();
    } else if (event.key === "Escape" && !writing && !$("subject").hidden) {
      close();
    }
  });
  addEventListener("popstate", () => show(fromAddress()));

  // The beginning.

  const suggest = (labels) => {
    const short = labels.filter((text) => text.length <= 24);
    const step = Math.max(1, Math.floor(short.length / 5));
    const chosen = short.filter((_, i) => i % step === Math.floor(step / 2)).slice(0, 5);
    for (const text of chosen) {
      const button = $("try").appendChild(document.createElement("button"));
      button.type = "button";
      button.textContent = text;
      button.addEventListener("click", () => {
        $("q").value = text;
        go({ kind: "text", text }, { focus: true });
      });
    }
    $("try").hidden = !chosen.length;
  };

  const begin = async () => {
    try {
      about = await ask("/api/about");
    } catch (error) {
      tell(error.message);
      return;
    }
    $("model").textContent = about.model;
    $("about").textContent = numbers.format(about.pictures) + " pictures of " + about.title
      + (about.left_out ? " (" + numbers.format(about.left_out) + " more cannot be read)" : "")
      + ", as seen at step " + numbers.format(about.step);
    setLabels(about.labels, about.templates);
    suggest(about.labels);
    const question = fromAddress();
    if (question.kind === "text") $("q").value = question.text;
    await show(question);
  };
  begin();
})();
