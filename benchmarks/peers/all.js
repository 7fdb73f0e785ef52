/** The peers that run on this machine. */
import { has, leaveOut } from '../measure.js';
import { benji } from './benji.js';
import { borg } from './borg.js';
import { casync } from './casync.js';
import { whyLeftOut } from './program.js';
import { qemuImg } from './qemu-img.js';
import { restic } from './restic.js';

const PEERS = [borg, restic, casync, qemuImg, benji];
/** Asked for, and never seen to run here: nothing drives them yet. */
const NOT_DRIVEN = ['rustic', 'kopia', 'desync'];
const CHOSEN = process.env.CAIRN_BENCH_PEERS?.split(',');

let present;

/** Every peer whose program tells its version, among CAIRN_BENCH_PEERS if that is set; says once why another is left
 *  out. */
export function peersThatRun() {
  if (present === undefined) for (const name of NOT_DRIVEN) leaveOut(name, whyNotDriven(name));
  present ??= PEERS.filter((peer) => {
    if (CHOSEN !== undefined && !CHOSEN.includes(peer.name)) return false;
    const runs = peer.version() !== null;
    if (!runs) leaveOut(peer.name, whyLeftOut(peer.name));
    return runs;
  });
  return present;
}

/** For the JSON: { name: { version, settings, why } }, and of those left out { reason }. */
export function describePeers() {
  const facts = PEERS.map(({ name, version, settings, why }) => {
    const found = version();
    return [name, found === null ? { reason: whyLeftOut(name) } : { version: found, settings, why }];
  });
  return Object.fromEntries([...facts, ...NOT_DRIVEN.map((name) => [name, { reason: whyNotDriven(name) }])]);
}

function whyNotDriven(name) {
  return `nothing drives it yet (${has(name) ? 'it is installed' : whyLeftOut(name)})`;
}
