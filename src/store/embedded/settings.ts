// How the embedded server is set. Durability is never traded: fsync, full_page_writes and synchronous_commit stay on.
import { totalmem } from 'node:os'

const MiB = 1 << 20

export function serverSettings(port: number): Record<string, string> {
  return {
    port: String(port),
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '', // a path may be too long for a socket; loopback always works
    max_connections: '100',
    shared_preload_libraries: 'pg_stat_statements',

    // Enough for the active jobs of a large backlog, and never more than a quarter of a small machine.
    shared_buffers: `${Math.max(16, Math.min(256, Math.floor(totalmem() / MiB / 4)))}MB`,
    wal_buffers: '16MB',
    // Checkpoints by time, not by volume: each makes the next write of every page dearer.
    max_wal_size: '4GB',
    // Segments kept for reuse: making a new one (16 MB of zeros, flushed) stalls every commit for some 50 ms, which under
    // 15,000 jobs/s is every half second.
    min_wal_size: '1GB',
    checkpoint_timeout: '15min',
    // The queue's table churns: dead rows are worth looking for more often than every minute.
    autovacuum_naptime: '10s',
    // Statements are short and many. Compiling them or spreading one over cores helps none, and cores belong to steps.
    jit: 'off',
    max_parallel_workers_per_gather: '0',
    random_page_cost: '1.1',

    timezone: 'UTC',
    log_timezone: 'UTC',
    log_line_prefix: '%m [%p] ',
  }
}
