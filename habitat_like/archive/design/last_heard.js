// When each callsign was heard. Key: callsign. Reduced with ?group=true: max is the last
// time_created (suspicious dates left out) in UNIX seconds, min the first, count how many messages.
function (doc) {
  if (doc.suspicious) {
    return;
  }
  if (typeof doc.time_created === 'number' && typeof doc.callsign === 'string') {
    emit(doc.callsign, doc.time_created);
  }
}
