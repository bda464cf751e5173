// Where a reader has chosen light or dark for the site, the instruments on the page follow. They stand in sandboxed frames, so the
// choice goes into the state that each page carries. Without a choice they follow the system, as the site does.
(() => {
  const follow = () => {
    const theme = document.body.dataset.theme ?? "auto";
    for (const frame of document.querySelectorAll("iframe.attnscope-frame")) {
      frame.original ??= frame.srcdoc;
      const wanted = frame.original.replace('"theme": "auto"', `"theme": "${theme}"`);
      if (frame.srcdoc !== wanted) frame.srcdoc = wanted;
    }
  };
  document.addEventListener("DOMContentLoaded", () => {
    follow();
    new MutationObserver(follow).observe(document.body, { attributes: true, attributeFilter: ["data-theme"] });
  });
})();
