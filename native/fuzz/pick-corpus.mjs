// Copies the inputs that reach most out of a set-cover merge of libFuzzer's, whose control file says what each reaches.
// usage: pick-corpus.mjs <control file> <target directory> <how many at most>
import { copyFileSync, readFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';

const [controlFile, targetDir, filesMax] = process.argv.slice(2);
const lines = readFileSync(controlFile, 'utf8').split('\n');
const files = lines.slice(2, 2 + Number(lines[0]));
const reached = files.map(() => []);
for (const line of lines) {
  const [word, number, ...features] = line.trim().split(' ');
  if (word === 'FT') reached[Number(number)] = features;
}
const sizes = files.map((file) => readFileSync(file).length);

const covered = new Set();
const gain = (number) => reached[number].filter((feature) => !covered.has(feature)).length;
let left = files.map((_, number) => number);
for (let picked = 0; picked < Number(filesMax); picked++) {
  const gains = new Map(left.map((number) => [number, gain(number)]));
  left = left.filter((number) => gains.get(number) > 0);
  // Of two that reach as much, the shorter one.
  left.sort((a, b) => gains.get(b) - gains.get(a) || sizes[a] - sizes[b]);
  const best = left.shift();
  if (best === undefined) break;
  for (const feature of reached[best]) covered.add(feature);
  copyFileSync(files[best], path.join(targetDir, path.basename(files[best])));
}
