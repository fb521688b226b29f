// What the engine tells a runtime at its start, by environment (docs/runtime-protocol.md, "Launch"). Read once, then
// hidden from user code. MILLRACE_RUNNER stays: it marks every process that user code starts.

/** @param {Record<string, string | undefined>} environment */
export function takeSettings(environment) {
  const take = (name) => {
    const value = environment[name] ?? ''
    delete environment[name]
    return value
  }
  return {
    code: take('MILLRACE_CODE'),
    params: JSON.parse(take('MILLRACE_PARAMS') || '[]'),
    entry: take('MILLRACE_ENTRY'),
    source: take('MILLRACE_SOURCE'),
    cell: take('MILLRACE_CELL'),
    dependencies: take('MILLRACE_DEPENDENCIES'),
    memoryMib: Number(take('MILLRACE_MEMORY_MIB')) || 512,
    resultBytesMax: Number(take('MILLRACE_RESULT_BYTES_MAX')) || 16 << 20,
    sharesFolder: take('MILLRACE_SHARES_FOLDER') === '1',
    logBytesMax: Number(take('MILLRACE_LOG_BYTES_MAX')) || 1 << 20,
  }
}
