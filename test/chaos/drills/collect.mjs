// Preloaded into the server and the worker of a soak: everything is collected once a minute, so that what their memory grows by is
// what they keep. Left to itself, V8 lets garbage that got old lie for hours where little does: a promoted kilobyte a second is
// 3.5 MiB/h until it is collected.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc')
setInterval(() => collect(), 60_000).unref()
