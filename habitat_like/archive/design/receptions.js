// How many receivers' messages carry the same packet. Key: the packet's base64 string; of one
// longer than 256 characters the first 256, its length and a hash, so that the index stays small.
// Reduced with ?group=true: how many.
function (doc) {
  var packet = doc.type === 'RECEIVED_TELEM' && doc.data && doc.data.string;
  if (typeof packet !== 'string') {
    return;
  }
  if (packet.length > 256) {
    var hash = 5381;
    for (var i = 0; i < packet.length; i++) {
      hash = (hash * 33 + packet.charCodeAt(i)) % 4294967296;
    }
    packet = packet.slice(0, 256) + ' ' + packet.length + ' ' + hash.toString(16);
  }
  emit(packet, null);
}
