/** fio, for readers side by side and requests in flight. */
import { has, leaveOut, run } from './measure.js';

/** Whether fio is there; says so when it is not. */
export function hasFio() {
  const there = has('fio');
  if (!there) leaveOut('several requests in flight', 'fio is not installed');
  return there;
}

/** Reads `path` by these options of fio and gives what it tells of reading: `bw_bytes`, `iops`, `total_ios` …
 *  fio drops the file's pages before it begins. */
export function readByFio(path, options) {
  const words = Object.entries(options).map(([name, value]) => `--${name}=${value}`);
  const fixed = ['--name=bench', `--filename=${path}`, '--readonly', '--output-format=json'];
  const text = run('fio', [...fixed, '--allow_file_create=0', '--group_reporting', ...words]);
  return JSON.parse(text.slice(text.indexOf('{'))).jobs[0].read;
}
