/** What D, and D with D′ after it, take: allocated bytes and files of each tool's repository. */
import { disksOf } from '../lab.js';
import { leaveOut } from '../measure.js';
import { peersThatRun } from '../peers/all.js';
import { cairn } from '../peers/cairn.js';
import { peerRow } from '../peers/rows.js';
import { saveStore, shownImage, store, storeOfDisk } from '../peers/stores.js';
import { inTurnWithin } from '../timed.js';

/** The size of D that the target is meant for. */
const TARGET_DISK_BYTES = 8 * 2 ** 30;

/** Stored bytes are the same each time, so there is one round; what other workloads measured is taken from them. */
export async function stored(lab) {
  const { disk, changed } = disksOf(lab);
  const measure = (tool) => () => {
    const first = firstOf(lab, tool, disk);
    const known = lab.tools.get(tool.name).second;
    const second = changed === null ? null : (known ?? secondOf(lab, tool, disk, changed));
    return { seconds: first.seconds, first, second };
  };
  if (changed === null) leaveOut('D with D′', 'the changed disk needs root');
  const subjects = [cairn, ...peersThatRun()].map((tool) => [tool.name, measure(tool)]);
  const results = await inTurnWithin(1, Object.fromEntries(subjects));
  const megabytes = { unit: 'MB', target: lab.sizeBytes === TARGET_DISK_BYTES ? 850 : undefined };
  const rows = [
    [{ ...megabytes, name: 'stored size of D' }, ({ first }) => first.storedBytes / 1e6],
    [{ ...megabytes, name: 'stored size of D and D′' }, ({ second }) => second && second.storedBytes / 1e6],
    [{ unit: 'files', name: 'files of D' }, ({ first }) => first.files],
    [{ unit: 'files', name: 'files of D and D′' }, ({ second }) => second?.files],
  ];
  return rows
    .map(([row, samplesOf]) => peerRow(results, { ...row, samplesOf }))
    .filter(({ samples }) => samples.length > 0);
}

function firstOf(lab, tool, disk) {
  storeOfDisk(lab, tool, shownImage(lab, disk));
  return lab.tools.get(tool.name).first;
}

function secondOf(lab, tool, disk, changed) {
  const at = storeOfDisk(lab, tool, shownImage(lab, disk));
  const { done } = saveStore(lab, tool);
  const second = store(tool, at, shownImage(lab, changed), 'second');
  done();
  lab.tools.set(tool.name, { ...lab.tools.get(tool.name), second });
  return second;
}
