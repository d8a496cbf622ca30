// The work that a sign-in costs while somebody guesses at the account (accounts/challenges.py): find a number that, behind the
// challenge, hashes to enough zero bits. It is done while the password is typed; a form that is sent sooner waits for it.

import { sha256, zeroBits } from "./sha256.js";

const SLICE_MS = 30; // the page stays responsive

async function solve(challenge) {
  const bits = Number.parseInt(challenge, 10);
  for (let number = 0; ; ) {
    const until = performance.now() + SLICE_MS;
    while (performance.now() < until) {
      const answer = `${challenge}.${number++}`;
      if (zeroBits(sha256(answer)) >= bits) return answer;
    }
    await new Promise((resume) => setTimeout(resume));
  }
}

const field = document.querySelector("input[data-challenge]");
if (field?.dataset.challenge) {
  const solved = solve(field.dataset.challenge).then((answer) => { field.value = answer; });
  field.form.addEventListener("submit", (event) => {
    if (field.value) return;
    event.preventDefault();
    const submitter = event.submitter;
    if (submitter) submitter.disabled = true;
    solved.then(() => field.form.submit());
  });
}
