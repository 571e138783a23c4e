// The title of a line is the name of its run.
for (const box of all("#runs input")) box.addEventListener("change", () => {
  for (const title of all("svg title"))
    if (title.textContent === box.value)
      title.parentNode.style.display = box.checked ? "" : "none";
});
