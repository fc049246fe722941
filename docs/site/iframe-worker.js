// Browsers start no workers from pages on disk, and the search runs in one. Here a hidden frame takes a worker's place,
// with as much of its interface as the search needs. On a server nothing is changed.
"use strict";
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.onmessage = null;
      this.onerror = null;
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.title = "";
      document.body.append(frame);
      this.inside = frame.contentWindow;
      const scope = this.inside.document;
      scope.open();
      scope.write(
        `<!doctype html><title></title><script>
        postMessage = (data) => parent.postMessage(data, "*");
        importScripts = (...urls) => urls.reduce((before, url) => before.then(() => new Promise((done, failed) => {
          const script = document.createElement("script");
          Object.assign(script, { src: url, onload: done, onerror: failed });
          document.body.append(script);
        })), Promise.resolve());
        <\/script><body><script src="${new URL(url, document.baseURI).href}"><\/script>`,
      );
      scope.close();
      this.ready = new Promise((done) => { frame.onload = done; });
      this.frame = frame;
      this.hear = (event) => {
        if (event.source !== this.inside) return;
        const heard = new MessageEvent("message", { data: event.data });
        this.dispatchEvent(heard);
        this.onmessage?.(heard);
      };
      window.addEventListener("message", this.hear);
    }

    postMessage(data) {
      this.ready.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {
      window.removeEventListener("message", this.hear);
      this.frame.remove();
    }
  };
}
