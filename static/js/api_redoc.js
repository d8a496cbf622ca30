// Redoc on the schema that the page names. Its search would need a worker made from text, which our policy does not allow.
const place = document.getElementById("redoc");
Redoc.init(place.dataset.schema, { nonce: document.currentScript.nonce, disableSearch: true, hideDownloadButton: false }, place);
