#include "perf/communicator_group.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <set>
#include <utility>

#include "src/net.h"
#include "topology/machine.h"

namespace gossamer {
namespace {

class CommunicatorGroup : public Group {
 public:
  explicit CommunicatorGroup(Communicator& communicator) : communicator_(communicator) {}
  int rank() const override { return communicator_.rank(); }
  int size() const override { return communicator_.size(); }

  Status barrier() override {
    std::vector<double> unused;
    return gather(0, &unused);
  }

  Status durations(std::span<const double> finished_us, std::vector<double>* times_us) override {
    times_us->clear();
    for (size_t k = 1; k < finished_us.size(); ++k)
      times_us->push_back(finished_us[k] - finished_us[k - 1]);
    return communicator_.all_reduce(std::span<double>(*times_us), ReduceOp::kMax);
  }

  Status gather(double mine, std::vector<double>* all) override {
    all->assign(static_cast<size_t>(size()), 0);
    return communicator_.all_gather(&mine, all->data(), 1, DataType::kFloat64);
  }

 private:
  Communicator& communicator_;
};

// What one rank tells the others.
struct Card {
  std::array<char, 64> host_identity{};
  std::array<char, 64> host_name{};
  std::array<char, 64> board_path{};  // rank 0's
  std::array<char, 512> cores{};
};

template <size_t N>
void write_text(std::array<char, N>* into, const std::string& text) {
  std::strncpy(into->data(), text.c_str(), N - 1);
}

}  // namespace

Result<std::unique_ptr<Group>> meet(Communicator& communicator, Whereabouts* where) {
  const int rank = communicator.rank();
  const int size = communicator.size();
  auto plain = std::make_unique<CommunicatorGroup>(communicator);
  std::optional<Board> board;
  Card card;
  char name[64] = "";
  gethostname(name, sizeof name - 1);
  write_text(&card.host_name, name);
  write_text(&card.host_identity, host_identity());
  write_text(&card.cores, usable_core_numbers());
  if (rank == 0 && size <= Board::kRanksMax) {
    if (Result<Board> made = Board::create(size)) {
      board.emplace(std::move(made).value());
      write_text(&card.board_path, board->path());
    }
  }
  std::vector<Card> cards(static_cast<size_t>(size));
  if (Status s = communicator.all_gather(&card, cards.data(), sizeof card, DataType::kUint8); !s)
    return s;
  std::set<std::string> hosts;
  std::vector<std::string> cores;
  for (Card& c : cards) {
    hosts.insert(c.host_name.data());
    if (c.host_name == card.host_name) cores.emplace_back(c.cores.data());
  }
  // network namespaces of one machine differ in identity and still share clock and memory, so
  // whether the board can be opened decides
  const std::string path = cards[0].board_path.data();
  if (rank != 0 && !path.empty() && access(path.c_str(), R_OK | W_OK) == 0) {
    if (Result<Board> opened = Board::open(path, size)) board.emplace(std::move(opened).value());
  }
  std::vector<double> have;
  if (Status s = plain->gather(board.has_value() ? 1 : 0, &have); !s) return s;
  const bool shared = std::ranges::all_of(have, [](double h) { return h == 1; });
  if (where != nullptr)
    *where = {name, cores_in_any(cores), static_cast<int>(hosts.size()), shared};
  if (!shared) return std::unique_ptr<Group>(std::move(plain));
  return std::unique_ptr<Group>(std::make_unique<BoardGroup>(std::move(*board), rank, size));
}

}  // namespace gossamer
