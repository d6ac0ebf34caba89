// What all parts of the page share: the data, elements, words and colours.
// Text of the traced world reaches the page as text nodes only.

const data = JSON.parse(document.getElementById("data").textContent);

const element = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
};

const seconds = data.width_ms / 1000;
const begin = data.start_ms / 1000;
const end = begin + seconds * data.buckets;

/** When a bucket begins, in seconds since 1970. */
const timeOf = (bucket) => begin + bucket * seconds;

const dateAndTime = (at) => new Date(Math.round(at * 1000)).toISOString();
const isOneDay = dateAndTime(begin).slice(0, 10) === dateAndTime(end).slice(0, 10);

/** A time of day in UTC, with as many digits as the buckets are exact; with its date where there are several. */
const clock = (at, exact = seconds < 1) => {
  const [date, time] = dateAndTime(at).split("T");
  return (isOneDay ? "" : `${date} `) + time.slice(0, exact ? 10 : 8);
};

const numbers = new Intl.NumberFormat("en");
const rates = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const number = (value) => numbers.format(value);
const counted = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

const isDark = matchMedia("(prefers-color-scheme: dark)");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const COLOURS = 8;
const colourOf = (index) => `c${index % COLOURS}`;

