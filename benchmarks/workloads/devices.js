/** Backups of real block devices, read past the page cache, beside reading the device alone and beside b3sum of it.
 *  Nothing of the devices is in the page cache, for any side. */
import { addZram, backup, CAIRN, freshRepository } from '../lab.js';
import { dropCaches, has, inTurn, leaveOut, peakBytesOf, run, secondsOf } from '../measure.js';
import { rowsOf } from '../report.js';

/** Unchanged disks: everything is read, hashed and compared, nothing is stored. */
export async function devices(lab, rounds) {
  if (process.geteuid?.() !== 0) {
    leaveOut('backups of devices', 'making loop and zram devices needs root');
    return [];
  }
  const rows = [];
  for (const [kind, device] of Object.entries(devicesOf(lab))) {
    freshRepository(lab);
    backup(lab, device);
    const cold = (measure) => () => {
      dropCaches();
      return measure();
    };
    const samples = await inTurn(rounds, {
      cairn: cold(() => backup(lab, device).seconds),
      dd: cold(() => secondsOf('dd', [`if=${device}`, 'of=/dev/null', 'bs=1M', 'iflag=direct']).seconds),
      b3sum: has('b3sum') && cold(() => secondsOf('b3sum', [device]).seconds),
    });
    dropCaches();
    const words = [CAIRN, '-r', lab.repository, 'backup', 'bench', '--source', device];
    rows.push(
      ...rowsOf(['cairn'], samples, {
        name: `backup of a ${kind} device, nothing changed, cold`,
        unit: 's',
        better: 'lower',
        limits: {
          dd: { name: 'dd iflag=direct of the device to nowhere' },
          b3sum: { name: 'b3sum of the device', target: 1.5 },
        },
        extra: { peakBytes: peakBytesOf(process.execPath, words) },
      }),
    );
  }
  return rows;
}

/** A loop device with direct I/O over the lab's disk, and a zram device with a copy of it where one can be made. */
function devicesOf(lab) {
  const loop = run('losetup', ['--find', '--show', '--direct-io=on', lab.disk]).trim();
  const zram = addZram(lab, lab.sizeBytes);
  if (zram === null) {
    leaveOut('backup of a zram device', 'none can be made');
    return { loop };
  }
  run('dd', [`if=${lab.disk}`, `of=${zram}`, 'bs=1M', 'conv=sparse,fsync', 'status=none']);
  return { loop, zram };
}
