/** Mounts a repository and ends; the session stays. For tests in another mount namespace. */
import { mount } from '../../dist/mount/session/mount.js';

const [repository, mountpoint, engine] = process.argv.slice(2);
await mount({ repository, mountpoint, engine });
