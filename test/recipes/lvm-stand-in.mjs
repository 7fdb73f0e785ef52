/** What of LVM needs device mapper, for machines whose kernel has none: making and removing thin snapshots, and messages to
 *  the pool. Volumes live in real LVM metadata, mappings in real metadata of a thin pool, contents in files. Started by
 *  wrappers under the names of the programs: `lvm-stand-in.mjs <directory> <program> <argument>…` */
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { writePoolMetadata } from './pool-metadata.mjs';

const [, , dir = '', program = '', ...args] = process.argv;
const stateFile = path.join(dir, 'state.json');
const state = JSON.parse(readFileSync(stateFile, 'utf8'));
const { group } = state;

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(5);
}

/** Changes the text of the group's metadata. */
function edit(change) {
  const file = path.join(dir, 'group.txt');
  execFileSync('vgcfgbackup', ['-q', '-f', file, group], { stdio: 'ignore' });
  writeFileSync(file, change(readFileSync(file, 'utf8')));
  execFileSync('vgcfgrestore', ['-q', '-y', '--force', '-f', file, group], { stdio: 'ignore' });
}

const section = (name) =>
  new RegExp(`\\n\\t\\t${name.replaceAll(/[.+]/g, '\\$&')} \\{\\n[\\s\\S]*?\\n\\t\\t\\}`);

function thinId(name) {
  const told = execFileSync('lvs', ['--noheadings', '-o', 'thin_id', `${group}/${name}`], { stdio: 'pipe' });
  return String(told).trim();
}

function lvcreate() {
  const given = (option) => args[args.indexOf(option) + 1] ?? '';
  const [name, tag, origin] = [given('--name'), given('--addtag'), path.basename(args.at(-1) ?? '')];
  // The real program must understand the words, and lack nothing but device mapper.
  const { stderr } = spawnSync('/sbin/lvcreate', args, { encoding: 'utf8' });
  if (!stderr.includes("Can't create thin without using device-mapper")) fail(stderr);
  const id = state.nextId++;
  const [a, b] = [String(id).padStart(6, '0'), String(id).padStart(4, '0')];
  const uuid = [a, b, b, b, b, b, a].join('-');
  const text = `
\t\t${name} {
\t\t\tid = "${uuid}"
\t\t\tstatus = ["READ", "VISIBLE"]
\t\t\tflags = []
\t\t\ttags = ["${tag}"]
\t\t\tsegment_count = 1
\t\t\tsegment1 {
\t\t\t\tstart_extent = 0
\t\t\t\textent_count = ${state.extents}
\t\t\t\ttype = "thin"
\t\t\t\tthin_pool = "pool"
\t\t\t\ttransaction_id = 0
\t\t\t\tdevice_id = ${id}
\t\t\t\torigin = "${origin}"
\t\t\t}
\t\t}`;
  edit((all) => all.replace(/\n\t\}\n\n\}/, `${text}$&`));
  state.mappings[id] = { ...state.mappings[thinId(origin)] };
  copyFileSync(path.join(dir, origin), path.join(dir, `${id}.img`));
  symlinkSync(path.join(dir, `${id}.img`), `/dev/${group}/${name}`);
}

function lvremove() {
  const name = path.basename(args.at(-1) ?? '');
  const id = thinId(name);
  edit((all) => all.replace(section(name), ''));
  delete state.mappings[id];
  rmSync(path.join(dir, `${id}.img`));
  rmSync(`/dev/${group}/${name}`, { force: true });
}

function lvrename() {
  execFileSync('/sbin/lvrename', args, { stdio: 'ignore' });
  rmSync(`/dev/${group}/${path.basename(args.at(-2) ?? '')}`, { force: true });
}

function dmsetup() {
  const [command, device, sector, message] = args;
  if (command !== 'message' || device !== `${group}-pool-tpool` || sector !== '0') fail('no such device');
  if (message === 'reserve_metadata_snap' && state.isHeld) fail('Device or resource busy');
  if (message === 'release_metadata_snap' && !state.isHeld) fail('Invalid argument');
  state.isHeld = message === 'reserve_metadata_snap';
  writePoolMetadata(dir, state);
}

({ lvcreate, lvremove, lvrename, dmsetup })[program]();
writeFileSync(stateFile, JSON.stringify(state));
