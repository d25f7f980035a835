// Messages by hour and type. Key: [start of the hour in UNIX seconds, type]. Reduced: how many.
// Suspicious ones are left out, as their dates are wrong. ?group=true for each hour and type, ?group_level=1 for each hour.
function (doc) {
  if (doc.suspicious) {
    return;
  }
  if (typeof doc.time_created === 'number' && typeof doc.type === 'string') {
    emit([Math.floor(doc.time_created / 3600) * 3600, doc.type], null);
  }
}
