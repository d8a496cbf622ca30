// Small helps for forms; every one of them works without.

// Enter sends, Shift+Enter makes a new line: for fields that hold one question or remark.
document.addEventListener("keydown", (event) => {
  const field = event.target;
  const plain = event.key === "Enter" && !event.shiftKey && !event.ctrlKey && !event.altKey && !event.isComposing;
  if (!plain || !field.matches?.("textarea[data-enter]")) return;
  event.preventDefault();
  field.form.requestSubmit(field.form.querySelector("[data-default]"));
});

// An answer that is an error page of ours holds the form with its faults: show it where the form was.
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.xhr.status === 400 || event.detail.xhr.status === 409) {
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  }
});
