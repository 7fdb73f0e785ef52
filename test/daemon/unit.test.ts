/** The unit cairn@.service: that it leaves what jobs and hooks need, and fits what the daemon does. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { ROOT } from '../house/sources.js';

/** In their order; some settings stand there several times. */
const SETTINGS = readFileSync(path.join(ROOT, 'bin/cairn@.service'), 'utf8')
  .split('\n')
  .flatMap((line) => {
    const [, name, value = ''] = /^([A-Za-z]+)=(.*)$/.exec(line) ?? [];
    return name === undefined ? [] : [{ name, value }];
  });

const valuesOf = (setting: string) =>
  SETTINGS.filter(({ name }) => name === setting).map(({ value }) => value);
const words = (setting: string) => valuesOf(setting).flatMap((value) => value.replace(/^~/, '').split(' '));

test('the service counts as started, watched and reloaded by what the daemon says and hears', () => {
  const said = ['Type', 'NotifyAccess', 'WatchdogSec', 'ExecReload', 'KillMode'].map((name) =>
    valuesOf(name),
  );
  expect(said).toEqual([['notify'], ['main'], ['60'], ['/bin/kill -HUP $MAINPID'], ['mixed']]);
  expect(valuesOf('ExecStart')).toEqual(['/usr/local/bin/cairn daemon -c /etc/cairn/%i.yaml']);
});

test('it is started again for ever, and one job that the kernel kills takes no other along', () => {
  expect(valuesOf('Restart')).toEqual(['on-failure']);
  expect(valuesOf('StartLimitIntervalSec')).toEqual(['0']);
  expect(valuesOf('OOMPolicy')).toEqual(['continue']);
});

/** As systemd.exec(5) and systemd.resource-control(5) tell: each restricts devices, or hides or forbids what hooks,
 *  guards and locks look at. */
const BREAKING =
  /^(PrivateDevices|DevicePolicy|DeviceAllow|ProtectClock|ProtectKernelTunables|ProtectKernelModules|PrivateTmp|PrivateUsers|ProtectProc|ProcSubset|NoNewPrivileges|RestrictSUIDSGID|RestrictNamespaces|RestrictAddressFamilies|IPAddressDeny|MemoryDenyWriteExecute|DynamicUser|RootDirectory)$/;

test('nothing keeps devices from jobs, or from hooks what they need', () => {
  expect(SETTINGS.map(({ name }) => name).filter((name) => BREAKING.test(name))).toEqual([]);
  // Only what is named is taken away.
  for (const set of [...valuesOf('CapabilityBoundingSet'), ...valuesOf('SystemCallFilter')])
    expect(set).toMatch(/^~/);
  const needed =
    /CAP_(SYS_ADMIN|SYS_RAWIO|DAC_READ_SEARCH|DAC_OVERRIDE|SETUID|SETGID|KILL|FOWNER|CHOWN|SYS_NICE)$/;
  expect(words('CapabilityBoundingSet').filter((name) => needed.test(name))).toEqual([]);
  expect(
    words('SystemCallFilter').filter((name) => /mount|module|privileged|setuid|process/.test(name)),
  ).toEqual([]);
});

test('a repository may lie anywhere but where the system and people keep their own', () => {
  expect([valuesOf('ProtectSystem'), valuesOf('ProtectHome')]).toEqual([['full'], ['read-only']]);
  expect(valuesOf('ReadWritePaths')).toEqual(['-/etc/lvm']);
});
