/** Mounts a directory of plain images and ends; the session stays. For tests in another mount namespace. */
import { fileURLToPath } from 'node:url';
import { mount } from '../../dist/mount/session/mount.js';

const [repository, mountpoint, engine] = process.argv.slice(2);
const serverEntry = fileURLToPath(new URL('./plain-server.mjs', import.meta.url));
await mount({ repository, mountpoint, engine, serverEntry });
