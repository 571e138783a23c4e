// Only the errors of a kind and a class.
const kind = document.querySelector("#kind");
const category = document.querySelector("#class");
const cards = [...document.querySelectorAll(".card")];
const choose = () => {
  for (const card of cards)
    card.hidden = (kind.value && card.dataset.kind !== kind.value) ||
      (category.value && card.dataset.class !== category.value);
  const shown = cards.filter(card => !card.hidden);
  document.querySelector("#count").textContent = shown.length;
};
kind.addEventListener("change", choose);
category.addEventListener("change", choose);
