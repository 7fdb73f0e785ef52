/** A cluster of Ceph on the loopback: one monitor and one OSD that keeps everything in memory. It ends with the process
 *  that started it. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, type TestContext } from 'vitest';

const PROGRAMS = ['ceph', 'ceph-authtool', 'ceph-mon', 'ceph-osd', 'monmaptool', 'rbd', 'qemu-io'];
const START_MS_MAX = 90_000;
const BYTES = 3 * 1024 ** 3;

export interface Cluster {
  readonly conf: string;
  /** What a program prints that must succeed; it knows the cluster by CEPH_CONF. */
  readonly run: (program: string, ...args: readonly string[]) => string;
  /** Stops a daemon where it stands, and lets it go on. */
  readonly freeze: (daemon: 'mon' | 'osd') => void;
  readonly thaw: (daemon: 'mon' | 'osd') => void;
}

/** One cluster for all tests of a file, with the pool “rbd”. Ask it in each test: that test is skipped, and says why, where
 *  there can be none. */
export function clusterForFile(): (context: TestContext) => Cluster {
  let started: Started | string = 'it was not started';
  beforeAll(async () => {
    started = missing() ?? (await start());
  }, START_MS_MAX);
  afterAll(async () => {
    if (typeof started !== 'string') await started.stop();
  });
  return (context) => {
    if (typeof started !== 'string') return started.cluster;
    process.stdout.write(`skipped: ${context.task.name}: ${started}\n`);
    return context.skip(started);
  };
}

interface Started {
  readonly cluster: Cluster;
  readonly stop: () => Promise<void>;
}

function missing(): string | null {
  if (process.getuid?.() !== 0) return 'a cluster of Ceph is started by root here';
  const absent = PROGRAMS.filter((program) => spawnSync('which', [program]).status !== 0);
  return absent.length === 0 ? null : `not installed: ${absent.join(', ')}`;
}

async function start(): Promise<Started> {
  const dir = realpathSync(mkdtempSync(path.join(tmpdir(), 'cairn-ceph-')));
  const conf = path.join(dir, 'ceph.conf');
  const [v2, v1] = [await freePort(), await freePort()];
  const fsid = randomUUID();
  for (const name of ['mon', 'osd', 'run']) mkdirSync(path.join(dir, name));
  writeFileSync(conf, configuration(dir, fsid, `[v2:127.0.0.1:${v2},v1:127.0.0.1:${v1}]`));
  const env = { ...process.env, CEPH_CONF: conf, CEPH_ARGS: '' };
  const run = (program: string, ...args: readonly string[]) => {
    const { status, stdout, stderr, error } = spawnSync(program, args, { env, encoding: 'utf8', cwd: dir });
    if (status === 0) return stdout;
    throw error ?? new Error(`${program} ${args.join(' ')} ended with ${status}: ${stderr}`);
  };
  const daemons: Record<'mon' | 'osd', ChildProcess | null> = { mon: null, osd: null };
  const stop = async () => {
    for (const daemon of Object.values(daemons)) if (daemon !== null) await ended(daemon);
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    makeMonitor(run, fsid, `[v2:127.0.0.1:${v2},v1:127.0.0.1:${v1}]`);
    daemons.mon = daemon(['ceph-mon', '-f', '-i', 'a'], env);
    makeOsd(run, dir);
    daemons.osd = daemon(['ceph-osd', '-f', '-i', '0'], env);
    await until(() => run('ceph', 'osd', 'stat', '-f', 'json').includes('"num_up_osds":1'));
    run('ceph', 'osd', 'pool', 'create', 'rbd', '8', '8');
    run('ceph', 'osd', 'pool', 'application', 'enable', 'rbd', 'rbd');
    const cluster: Cluster = {
      conf,
      run,
      freeze: (name) => void daemons[name]?.kill('SIGSTOP'),
      thaw: (name) => void daemons[name]?.kill('SIGCONT'),
    };
    return { cluster, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function makeMonitor(run: Cluster['run'], fsid: string, address: string): void {
  const all = ['--cap', 'mon', 'allow *', '--cap', 'osd', 'allow *', '--cap', 'mgr', 'allow *'];
  run('ceph-authtool', '-C', 'client.admin.keyring', '-g', '-n', 'client.admin', ...all);
  run('ceph-authtool', '-C', 'first.keyring', '-g', '-n', 'mon.', '--cap', 'mon', 'allow *');
  run('ceph-authtool', 'first.keyring', '--import-keyring', 'client.admin.keyring');
  run('monmaptool', '--create', '--fsid', fsid, '--addv', 'a', address, '--clobber', 'monmap');
  run('ceph-mon', '--mkfs', '-i', 'a', '--monmap', 'monmap', '--keyring', 'first.keyring');
  run('ceph-authtool', '-C', 'mon.a.keyring', '--import-keyring', 'first.keyring');
}

function makeOsd(run: Cluster['run'], dir: string): void {
  const [id, secret] = [randomUUID(), run('ceph-authtool', '--gen-print-key').trim()];
  writeFileSync(path.join(dir, 'secret.json'), JSON.stringify({ cephx_secret: secret }));
  run('ceph', '--connect-timeout', '30', 'osd', 'new', id, '-i', 'secret.json');
  run('ceph-authtool', '-C', 'osd.0.keyring', '-n', 'osd.0', '--add-key', secret);
  run('ceph-osd', '-i', '0', '--mkfs', '--osd-uuid', id);
}

/** One that the kernel ends when this process is gone, however it ended. */
function daemon(words: readonly string[], env: NodeJS.ProcessEnv): ChildProcess {
  return spawn('setpriv', ['--pdeathsig', 'KILL', ...words], { env, stdio: 'ignore' });
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await exited;
}

async function until(isSo: () => boolean): Promise<void> {
  const lateMs = performance.now() + START_MS_MAX / 2;
  while (!isSo()) {
    if (performance.now() > lateMs) throw new Error('the OSD did not come up');
    await sleep(200);
  }
}

function freePort(): Promise<number> {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

function configuration(dir: string, fsid: string, address: string): string {
  return `[global]
fsid = ${fsid}
mon_host = ${address}
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
keyring = ${dir}/$name.keyring
admin_socket = ${dir}/run/$name.$pid.sock
log_file = ${dir}/$name.log
run_dir = ${dir}/run
crash_dir = ${dir}/run
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
auth_allow_insecure_global_id_reclaim = false
mon_data_avail_crit = 0
mon_data_avail_warn = 1
[mon]
mon_data = ${dir}/mon
mon_initial_members = a
[osd]
osd_data = ${dir}/osd
osd_objectstore = memstore
memstore_device_bytes = ${BYTES}
osd_memory_target = 939524096
[client]
rbd_default_features = 61
`;
}
