import './style.css';
import picture from './picture.png';

document.querySelector('#picture').src = picture;

const parts = document.querySelector('#parts');
const add = (text) => {
  parts.append(Object.assign(document.createElement('li'), { textContent: text }));
};

// Each of these is refused by browsers when its media type is wrong.
add((await import('./late.js')).words);
await WebAssembly.compileStreaming(fetch('/empty.wasm'));
add('WebAssembly, compiled while it arrived');
const numbers = await (await fetch('/numbers.json')).json();
add(`JSON with ${numbers.length} numbers`);
const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
worker.onmessage = ({ data }) => {
  add(data);
  document.documentElement.dataset.script = 'ran';
};
worker.postMessage(numbers);
