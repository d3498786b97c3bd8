// The smallest user: joins, sums a vector, leaves.
#include <gossamer/communicator.h>

#include <vector>

int main() {
  auto group = gossamer::Communicator::from_environment();
  if (!group) return 1;
  std::vector<float> x(1000, 1.0F);
  if (!group.value()->all_reduce(std::span<float>(x))) return 2;
  return x[999] == static_cast<float>(group.value()->size()) ? 0 : 3;
}
