/** Mounts a repository, reads an image, unmounts, and prints what it saw. For tests as another user. */
import { readdirSync, readFileSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { mount } from '../../dist/mount/session/mount.js';
import { unmount } from '../../dist/mount/session/unmount.js';

const [repository, mountpoint, engine] = process.argv.slice(2);
const isMounted = () => readFileSync('/proc/self/mountinfo', 'utf8').includes(mountpoint);

await mount({ repository, mountpoint, engine });
const mounted = [isMounted()];
const { uid: owner } = await stat(join(mountpoint, 'web01'));
const content = await readFile(join(mountpoint, 'web01/latest/disk.img'), 'utf8');
await unmount({ mountpoint });
mounted.push(isMounted());
const left = readdirSync(join(process.env.XDG_RUNTIME_DIR, 'cairn'));
process.stdout.write(JSON.stringify({ owner, content, mounted, left }));
