// Only the defects with a text.
const only = document.querySelector("#only");
if (only) only.addEventListener("input", () => {
  const wanted = only.value.toLowerCase();
  for (const row of all("#each tbody tr"))
    row.hidden = !row.textContent.toLowerCase().includes(wanted);
});
