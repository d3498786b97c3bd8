// Joins the ranks of an MPI communicator: from_mpi(MPI_COMM_WORLD).
//
// Header only, so the library itself needs no MPI: include it where <mpi.h> is at hand. MPI carries
// the unique id and is not used afterwards; MPI_Finalize may come before or after the Communicator
// ends.
//
// Threads    call it between MPI_Init and MPI_Finalize, from a thread that may call MPI.
// Blocking   collective over `comm`: all its ranks must call it. What stops one rank stops all, so
//            nobody waits for a rank that has given up.

#pragma once

#include <mpi.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>

#include "gossamer/communicator.h"

namespace gossamer {
namespace detail {

// What rank 0 broadcasts: the id, or why there is none. Plain bytes: one executable, one layout.
struct MpiInvitation {
  UniqueId id;
  uint8_t code = 0;
  std::array<char, 255> message{};
};
static_assert(std::is_trivially_copyable_v<MpiInvitation>);

inline Status mpi_failed(const char* call, int error) {
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  if (MPI_Error_string(error, text.data(), &length) != MPI_SUCCESS) {
    length = 0;
  }
  return Status::error(Code::kSystem, std::string(call) + " failed: " +
                                          std::string(text.data(), static_cast<size_t>(length)));
}

inline MpiInvitation mpi_invite() {
  MpiInvitation invitation;
  Result<UniqueId> id = UniqueId::create();
  if (id.is_ok()) {
    invitation.id = id.value();
    return invitation;
  }
  invitation.code = static_cast<uint8_t>(id.status().code());
  const std::string_view text =
      std::string_view(id.status().message()).substr(0, invitation.message.size() - 1);
  std::memcpy(invitation.message.data(), text.data(), text.size());
  return invitation;
}

}  // namespace detail

// A Communicator with the ranks of `comm`, in its order. `defaults` as for Communicator::create();
// its rank, size, rendezvous and id are replaced.
//   kInvalidArgument  MPI is not initialised, or `comm` is MPI_COMM_NULL
//   kSystem           an MPI call failed (where comm's error handler returns), or rank 0 could not
//                     open a rendezvous: then on every rank
//   others            as Communicator::create()
inline Result<std::unique_ptr<Communicator>> from_mpi(MPI_Comm comm,
                                                      Communicator::Options defaults = {}) {
  int initialized = 0;
  int finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  if (initialized == 0 || finalized != 0) {
    return Status::error(Code::kInvalidArgument,
                         "from_mpi() must come after MPI_Init and before MPI_Finalize");
  }
  if (comm == MPI_COMM_NULL) {
    return Status::error(Code::kInvalidArgument, "from_mpi() was given MPI_COMM_NULL");
  }
  int rank = 0;
  int size = 0;
  if (const int error = MPI_Comm_rank(comm, &rank); error != MPI_SUCCESS) {
    return detail::mpi_failed("MPI_Comm_rank", error);
  }
  if (const int error = MPI_Comm_size(comm, &size); error != MPI_SUCCESS) {
    return detail::mpi_failed("MPI_Comm_size", error);
  }
  detail::MpiInvitation invitation = rank == 0 ? detail::mpi_invite() : detail::MpiInvitation{};
  if (const int error =
          MPI_Bcast(&invitation, static_cast<int>(sizeof(invitation)), MPI_BYTE, 0, comm);
      error != MPI_SUCCESS) {
    return detail::mpi_failed("MPI_Bcast", error);
  }
  if (invitation.code != 0) {
    return Status::error(
        static_cast<Code>(invitation.code),
        "rank 0 could not invite the others: " + std::string(invitation.message.data()), 0);
  }
  defaults.rank = rank;
  defaults.size = size;
  defaults.rendezvous.clear();
  defaults.id = &invitation.id;
  return Communicator::create(defaults);
}

}  // namespace gossamer
