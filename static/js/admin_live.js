// Parts of an admin page that show something at work: while one says data-live="on" the page is asked for again each second and
// the parts take the place of the old ones. What people have typed elsewhere on the page stays.

const PAUSE_MS = 1000;

function parts(page) {
  return [...page.querySelectorAll("[data-live]")];
}

// What somebody has opened to read stays open.
function unfold(old, fresh) {
  const twins = fresh.querySelectorAll("details");
  old.querySelectorAll("details").forEach((one, place) => twins[place]?.toggleAttribute("open", one.open));
}

async function refresh() {
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!response.ok || response.redirected) return false; // signed out, or it is gone
  const fresh = parts(new DOMParser().parseFromString(await response.text(), "text/html"));
  parts(document).forEach((old, place) => {
    if (!fresh[place] || old.contains(document.activeElement)) return;
    unfold(old, fresh[place]);
    old.replaceWith(document.adoptNode(fresh[place]));
  });
  return true;
}

async function follow() {
  const was = parts(document).some((part) => part.dataset.live === "on");
  while (parts(document).some((part) => part.dataset.live === "on")) {
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    if (document.hidden) continue;
    if (!(await refresh().catch(() => true))) return; // a server that restarts is asked again
  }
  // The rest of such a page says what came of it.
  if (was && document.querySelector("[data-live-end=reload]")) location.reload();
}

follow();
