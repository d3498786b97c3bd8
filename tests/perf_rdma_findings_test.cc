#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "perf/rdma_findings.h"
#include "tests/temporary_folder.h"

namespace gossamer {

namespace {

// A folder that looks like /sys/class/infiniband.
class Tree {
 public:
  void put(const std::string& path, const std::string& text) const {
    const std::filesystem::path file = folder_.path(path);
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  }
  const std::string& root() const { return folder_.path(); }

 private:
  TemporaryFolder folder_;
};

const Finding* find(const std::vector<Finding>& findings, const std::string& subject) {
  for (const Finding& f : findings) {
    if (f.subject == subject) return &f;
  }
  return nullptr;
}

TEST(RdmaFindings, ListsPortsWithStateAndGids) {
  const Tree tree;
  const std::string up = "mlx5_0/ports/1/";
  tree.put(up + "state", "4: ACTIVE");
  tree.put(up + "link_layer", "Ethernet");
  tree.put(up + "rate", "100 Gb/sec (4X EDR)");
  tree.put(up + "gids/0", "fe80:0000:0000:0000:0000:00ff:fe77:0001");
  tree.put(up + "gids/1", "0000:0000:0000:0000:0000:ffff:0a4d:0001");
  tree.put(up + "gids/2", "0000:0000:0000:0000:0000:0000:0000:0000");
  tree.put(up + "gid_attrs/types/0", "IB/RoCE v1");
  tree.put(up + "gid_attrs/types/1", "RoCE v2");
  tree.put("mlx5_1/ports/1/state", "1: DOWN");
  tree.put("mlx5_1/ports/1/link_layer", "InfiniBand");
  tree.put("mlx5_2/ports/2/state", "4: ACTIVE");
  tree.put("mlx5_2/ports/2/link_layer", "Ethernet");
  const std::vector<Finding> findings = rdma_findings(tree.root());
  const Finding* const good = find(findings, "mlx5_0 port 1");
  ASSERT_NE(good, nullptr);
  EXPECT_EQ(good->grade, Grade::kGood);
  EXPECT_NE(good->text.find("100 Gb/sec"), std::string::npos);
  EXPECT_NE(good->text.find("1 0000:0000:0000:0000:0000:ffff:0a4d:0001 (RoCE v2)"),
            std::string::npos)
      << good->text;
  EXPECT_EQ(good->text.find(", 2 "), std::string::npos) << "an empty GID is none";
  const Finding* const down = find(findings, "mlx5_1 port 1");
  ASSERT_NE(down, nullptr);
  EXPECT_EQ(down->grade, Grade::kNote);
  EXPECT_NE(down->fix.find("subnet manager"), std::string::npos);
  const Finding* const bare = find(findings, "mlx5_2 port 2");
  ASSERT_NE(bare, nullptr);
  EXPECT_NE(bare->text.find("no GID"), std::string::npos);
  EXPECT_NE(bare->fix.find("address"), std::string::npos);
}

TEST(RdmaFindings, WithoutDevicesSaysWhatToDo) {
  const Tree tree;
  const std::vector<Finding> findings = rdma_findings(tree.root());
  const Finding* const none = find(findings, "RDMA devices");
  ASSERT_NE(none, nullptr);
  EXPECT_NE(none->fix.find("rxe"), std::string::npos);
  EXPECT_NE(find(findings, "transport verbs"), nullptr);
}

}  // namespace

}  // namespace gossamer
