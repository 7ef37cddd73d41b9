// `gyre plan --draw`: a simulated call as a picture. Ranks down, time across; boxes as long as they take, coloured by the owner of
// the keys attended; below each rank's boxes what is on the wire to it, coloured by the owner of what arrives; waiting is hatched.
//
//   rank 0 |  0  |  3  |  2  |//|  1  |      boxes: attends keys of 0, of 3, of 2, waits, of 1
//          |=3====|=2======|=1=====|         lanes: cells of 3, of 2, of 1 arrive
#pragma once

#include <string>
#include <vector>

#include "launch/drawn_program.hpp"

namespace gyre {

/// What stands above the picture. Escaped here.
struct PictureText {
  std::string title;
  std::vector<std::string> lines;
};

/// An SVG file. However many instructions there are, it has at most some ten thousand boxes: what is too narrow to be seen is drawn
/// together with its neighbours.
std::string draw_program(const DrawnProgram& program, const PictureText& text);

}  // namespace gyre
