// Keeps the page up to date: the server renders it again, and what has changed takes the place of the old.
"use strict";
(function () {
  var due = null;
  var note = document.getElementById("live");

  function renew() {
    due = null;
    fetch("/sidestep", { headers: { accept: "text/html" } })
      .then(function (answer) {
        if (!answer.ok) throw new Error(answer.status);
        return answer.text();
      })
      .then(function (text) {
        var fresh = new DOMParser().parseFromString(text, "text/html").querySelector("main");
        if (fresh) document.querySelector("main").replaceWith(fresh);
      })
      .catch(function () { note.textContent = "not reachable"; });
  }

  // Many requests at once are one renewal; on a hidden page nobody looks.
  function soon() {
    if (due === null && !document.hidden) due = setTimeout(renew, 500);
  }

  var live = new EventSource("/sidestep/requests/live");
  live.addEventListener("request", soon);
  live.onopen = function () { note.textContent = "live"; };
  live.onerror = function () { note.textContent = "not live; trying again"; };
  setInterval(soon, 5000);
  document.addEventListener("visibilitychange", soon);
})();
