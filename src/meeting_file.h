// A unique id in a file, for rendezvous by file:///path.
//
// Threads    any; the file is replaced as a whole, so a reader sees all of it or none.

#pragma once

#include <string>

#include "gossamer/communicator.h"
#include "gossamer/status.h"

namespace gossamer {

// Writes it, readable by this user only, over whatever was there.
Status write_id_file(const std::string& path, const UniqueId& id);

// kUnavailable: not there yet; kInvalidArgument: there, but not to be trusted or not an id.
Result<UniqueId> read_id_file(const std::string& path);

// Removes it if it still holds `id`.
void remove_id_file(const std::string& path, const UniqueId& id);

}  // namespace gossamer
